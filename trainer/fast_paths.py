"""Which fast paths a run takes: trunk engine, folding, caches, warp kernel.

They change a run's time and memory, and at most the last bits of its figures.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable

import tensorflow as tf

from trainer import devices, strategies
from trainer.config import Config
from trainer.data.augment import warp_kernel
from trainer.data.kept import OFF, RowCache
from trainer.errors import UsageError
from trainer.fields import AUTO, LOCAL
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.split import Split, split_classifier
from trainer.model.trunk import LITERT
from trainer.processes import Processes
from trainer.train.inputs import Inputs, Report, auto_engine

STEP = "step"
_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FastPaths:
    """Those of one run.

    Attributes:
      engine: step, graph or litert.
      kernel: of the warp, projective or gather.
      fold_batch_norm: whether to.
      block: of the graph engine; 0 leaves it to the rule.
      decode_cache: whether decoded pictures are kept.
      cache: where rows are kept.
      machine: whatever may change the last bits of a feature.
    """

    engine: str
    kernel: str
    fold_batch_norm: bool
    block: int
    decode_cache: bool
    cache: RowCache
    machine: str

    def stage(
        self,
        classifier: Classifier,
        plan: FreezePlan,
        *,
        warn: Callable[[str], None],
        report: Report,
    ) -> tuple[Split | None, Inputs]:
        """What the steps of a stage compute with, and what they read.

        Args:
          classifier: as `apply_freeze` left it.
          plan: of the stage.
          warn: told when a fast path cannot be taken.
          report: see `Inputs`.
        """
        split = None
        if self.engine != STEP or self.fold_batch_norm:
            split = split_classifier(
                classifier,
                plan,
                fold_batch_norm=self.fold_batch_norm,
                cut_trunk=self.engine != STEP,
            )
        return split, Inputs(
            split,
            image_px=classifier.image_px,
            engine=self.engine,
            block=self.block,
            kernel=self.kernel,
            cache=self.cache,
            decode_cache=self.decode_cache,
            machine=self.machine,
            warn=warn,
            report=report,
        )


def fast_paths(
    config: Config,
    strategy: tf.distribute.Strategy,
    processes: Processes,
    *,
    xla: bool,
    images: int,
    earlier: str | None = None,
) -> FastPaths:
    """Decides them from flags, devices and the size of the job.

    Args:
      config: resolved.
      strategy: of the run.
      processes: of the job.
      xla: whether the step is compiled.
      images: pictures that will go through the classifier.
      earlier: the engine that the run began with, if it did.

    Raises:
      UsageError: flags that exclude each other.
    """
    tpu = strategies.on_tpu(strategy)
    if (xla or tpu) and config.augment_kernel == "projective":
        raise UsageError(
            "--augment_kernel=projective: "
            + (
                "a TPU cannot run it; give gather"
                if tpu
                else "XLA cannot compile it; give gather, or --xla=off"
            )
        )
    # Processes that fill it at their own pace would lose each other; and what
    # reads it is Python, which a TPU on the network's host cannot call.
    uncached = processes.count > 1 or (tpu and config.tpu not in (None, LOCAL))
    return FastPaths(
        engine=_engine(config, strategy, processes, xla, images, earlier),
        kernel=warp_kernel(xla or tpu)
        if config.augment_kernel == AUTO
        else config.augment_kernel,
        fold_batch_norm=config.fold_batch_norm,
        block=config.trunk_block,
        decode_cache=config.decode_cache,
        cache=_cache(
            OFF if uncached else config.cache,
            config.cache_dir or default_cache_dir(),
            config.cache_ram_mib,
            config.cache_disk_mib,
        ),
        machine=_machine(strategy, processes),
    )


def _machine(strategy: tf.distribute.Strategy, processes: Processes) -> str:
    facts = devices.environment(strategy, processes)
    names = ("tensorflow", "processor", "cpu_count", "intra_op_threads")
    return str([facts[name] for name in names])


def _engine(
    config: Config,
    strategy: tf.distribute.Strategy,
    processes: Processes,
    xla: bool,
    images: int,
    earlier: str | None,
) -> str:
    obstacle = (
        "a TPU computes the whole step (--strategy)"
        if strategies.on_tpu(strategy)
        else "XLA compiles the whole step (--xla=off)"
        if xla
        else f"--precision={config.precision} (float32 is)"
        if config.precision != "float32"
        else "it is for one process"
        if processes.count > 1
        else "it runs on CPUs only"
        if not devices.all_cpus(strategy)
        else ""
    )
    asked = config.trunk_engine
    if asked == AUTO:
        if obstacle:
            return STEP
        return earlier or auto_engine(
            images, graph_only=not hasattr(tf, "lite")
        )
    if asked != STEP and obstacle:
        raise UsageError(
            f"--trunk_engine={asked}: not possible here: {obstacle}; give auto"
            " or step"
        )
    if asked == LITERT and not hasattr(tf, "lite"):
        raise UsageError(
            "--trunk_engine=litert: this TensorFlow has no tf.lite; give graph"
        )
    return asked


def default_cache_dir() -> str:
    """Where rows are kept if no flag says so."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "transfer-trainer")


@functools.cache
def _cache(mode: str, folder: str, ram_mib: int, disk_mib: int) -> RowCache:
    # One for the whole process, so that the models of a study share rows.
    return RowCache(
        mode=mode,
        folder=folder,
        ram_bytes=ram_mib * _MIB or _free_memory() // 4,
        disk_bytes=disk_mib * _MIB,
    )


def _free_memory() -> int:
    """Bytes that can be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
