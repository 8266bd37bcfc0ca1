"""Which fast paths a run takes: engine, folding, gradients, caches, warp.

They change a run's time and memory, and at most the last bits of its figures.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable

import tensorflow as tf

from trainer.cache import (
    DISK,
    OFF,
    CacheFolder,
    CacheRefusedError,
    FileCache,
    RowCache,
)
from trainer.cache.disk import earlier_cache
from trainer.config import Config
from trainer.config.fields import AUTO
from trainer.data.augment import warp_kernel
from trainer.distribute import devices, strategies
from trainer.distribute.processes import Processes
from trainer.errors import UsageError, one_line
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.cut import find_cut
from trainer.model.trunk.engines import LITERT
from trainer.model.trunk.partition import Partition, partition_at
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
      quick_gradients: see `partition_at`.
      block: of the graph engine; 0 leaves it to the rule.
      feature_dtype: see `Inputs`.
      decode_cache: whether decoded images are cached.
      cache: of rows.
      files: cache of whole files.
      machine: whatever may change the last bits of a feature.
    """

    engine: str
    kernel: str
    fold_batch_norm: bool
    quick_gradients: bool
    block: int
    feature_dtype: str
    decode_cache: bool
    cache: RowCache
    files: FileCache
    machine: str

    def stage(
        self,
        classifier: Classifier,
        plan: FreezePlan,
        *,
        warn: Callable[[str], None],
        report: Report,
        later: FreezePlan | None = None,
        work: Work | None = None,
    ) -> StagePaths:
        """What the steps of a stage compute with, and what they read.

        Args:
          classifier: the run's classifier.
          plan: of the stage.
          warn: told when a fast path cannot be taken.
          report: see `Inputs`.
          later: of the stage after it, which may take the same.
          work: of the stage; given with `later`.
        """
        partition, shared = None, False
        if self.engine != STEP or self.fold_batch_norm or self.quick_gradients:
            cut = find_cut(classifier, [plan], cut_trunk=self.engine != STEP)
            if later is not None and work is not None and cut and cut.names:
                both = find_cut(classifier, [plan, later])
                assert both is not None
                shared = bool(both.names) and work.shares(*both.costs())
                cut = both if shared else cut
            if cut is not None:
                partition = partition_at(
                    classifier,
                    cut,
                    fold_batch_norm=self.fold_batch_norm,
                    quick_gradients=self.quick_gradients,
                )
        if self.feature_dtype != "float32" and not (
            partition and partition.cut
        ):
            warn(
                f"--feature_dtype={self.feature_dtype}: nothing is frozen ahead"
                " of what this stage trains, so nothing is rounded"
            )
        inputs = Inputs(
            partition,
            image_px=classifier.image_px,
            engine=self.engine,
            block=self.block,
            feature_dtype=self.feature_dtype,
            kernel=self.kernel,
            cache=self.cache,
            files=self.files,
            decode_cache=self.decode_cache,
            machine=self.machine,
            warn=warn,
            report=report,
        )
        return StagePaths(partition=partition, inputs=inputs, shared=shared)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StagePaths:
    """What the steps of a stage compute with, and what they read.

    Attributes:
      split: None computes with the classifier as it is.
      inputs: how samples are read.
      shared: whether the stage after it takes the same two.
    """

    partition: Partition | None
    inputs: Inputs
    shared: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage has to do.

    Attributes:
      epochs: of the stage.
      train: training samples.
      validation: samples of each epoch's validation.
      final: samples of the evaluation at its end, validation's among them or
        beside them.
      augment: whether training images are augmented.
    """

    epochs: int
    train: int
    validation: int
    final: int
    augment: bool

    def shares(self, trunk: int, tail: int) -> bool:
        """Whether it pays to cut where the stage after it does.

        Then both read the same features, which are computed once; and the
        frozen layers behind the cut are computed with each step, in a graph,
        which takes about twice as long as ahead of it.

        Args:
          trunk: multiplications for one sample before the later cut.
          tail: likewise behind it.
        """
        passes = self.epochs * self.validation + self.final
        trained = self.epochs * self.train
        if self.augment:
            # They go through all layers in either case.
            return tail * (2 * passes + trained) < trunk * self.final
        return 2 * tail * (passes + trained) < trunk * (self.final + self.train)


def fast_paths(
    config: Config,
    strategy: tf.distribute.Strategy,
    processes: Processes,
    *,
    xla: bool,
    images: int,
    earlier: str | None = None,
    training: bool = True,
) -> FastPaths:
    """Decides them from flags, devices and the size of the job.

    Args:
      config: resolved.
      strategy: of the run.
      processes: of the job.
      xla: whether the step is compiled.
      images: images that will go through the classifier.
      earlier: the engine that the run began with, if it did.
      training: False only uses what a run has trained.

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
    engine = _engine(config, strategy, processes, xla, images, earlier)
    if training and config.feature_dtype != "float32" and engine == STEP:
        raise UsageError(
            f"--feature_dtype={config.feature_dtype}: no features are computed"
            " ahead of the step here; leave it out, or give"
            " --trunk_engine=graph where that is possible"
        )
    quick = _quick_gradients(config, strategy, xla)
    if training and config.quick_gradients == "on" and not quick:
        raise UsageError(
            "--quick_gradients=on: they are for float32 on CPUs, where XLA"
            " does not compile the step; give auto or off"
        )
    # Processes that fill the cache at different speeds would fall out of step;
    # and a TPU's own host, which reads for it, runs no Python.
    far = strategies.on_far_tpu(strategy, config.tpu)
    mode = OFF if processes.count > 1 or far else config.cache
    folder = _cache_folder(config) if mode in (AUTO, DISK) else None
    return FastPaths(
        engine=engine,
        kernel=warp_kernel(xla or tpu)
        if config.augment_kernel == AUTO
        else config.augment_kernel,
        fold_batch_norm=config.fold_batch_norm,
        quick_gradients=quick,
        block=config.trunk_block,
        feature_dtype=config.feature_dtype,
        decode_cache=config.decode_cache,
        cache=_row_cache(mode, folder, config.cache_ram_mib),
        files=file_cache(config),
        machine=_machine(strategy, processes),
    )


def _quick_gradients(
    config: Config, strategy: tf.distribute.Strategy, xla: bool
) -> bool:
    """Whether gradients are quick ones; evaluations then run as in training."""
    possible = (
        not xla
        and config.precision == "float32"
        and devices.all_cpus(strategy)
        and not strategies.on_tpu(strategy)
    )
    return possible and config.quick_gradients != OFF


def _machine(strategy: tf.distribute.Strategy, processes: Processes) -> str:
    facts = devices.environment(strategy, processes)
    names = (
        "tensorflow",
        "onednn",
        "processor",
        "cpu_count",
        "intra_op_threads",
    )
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


def file_cache(config: Config) -> FileCache:
    """Returns the cache of whole files that a run uses."""
    on_disk = config.cache in (AUTO, DISK)
    return FileCache(_cache_folder(config) if on_disk else None)


def _cache_folder(config: Config) -> CacheFolder | None:
    base = config.cache_dir or default_cache_dir()
    given = bool(config.cache_dir)
    return _open_cache_folder(base, config.cache_disk_mib, given)


@functools.cache
def _open_cache_folder(
    base: str | None, disk_mib: int, given: bool
) -> CacheFolder | None:
    """Returns the cache's folder, checked once in a process.

    Args:
      base: folder that holds it; None without a home.
      disk_mib: see `--cache_disk_mib`.
      given: whether `--cache_dir` names it.

    Raises:
      UsageError: it was given, and what it holds is not to be used.
    """
    if base is None:
        _warn(
            "this user has no home folder, so nothing is cached on disk; give"
            " --cache_dir=FOLDER to do so"
        )
        return None
    folder = CacheFolder(base, disk_bytes=disk_mib * _MIB)
    try:
        folder.check()
    except CacheRefusedError as error:
        if given:
            raise UsageError(f"--cache_dir={base!r}: {error}") from None
        _warn(f"nothing is cached on disk: {error}")
        return None
    except OSError:
        pass  # Rows say so when they are to be written.
    earlier = earlier_cache(base)
    if earlier:
        _warn(
            f"{earlier} holds a cache of an earlier version, which is no"
            " longer used; remove its folders of 24 hexadecimal digits to get"
            " the space back"
        )
    return folder


def _warn(text: str) -> None:
    # Not on standard output, which may be a CSV file.
    print(f"warning: {one_line(text)}", file=sys.stderr)


def default_cache_dir() -> str | None:
    """Returns where the cache's folder lies by default; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if base.startswith("~") else base


@functools.cache
def _row_cache(mode: str, folder: CacheFolder | None, ram_mib: int) -> RowCache:
    # One for the whole process, so that the models of a study share rows.
    return RowCache(
        mode=mode,
        disk=folder,
        ram_bytes=ram_mib * _MIB or _free_memory() // 4,
    )


def check_batch_fits(batch_size: int, image_px: int) -> None:
    """Checks that this machine can hold a batch of images.

    Args:
      batch_size: images in one pass.
      image_px: side of an image.

    Raises:
      UsageError: it cannot.
    """
    need = batch_size * image_px**2 * 3 * 4
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have:
        raise UsageError(
            f"--batch_size={batch_size}: one batch of {image_px} x {image_px}"
            f" px images takes {need / 2**30:,.0f} GiB, and this machine has"
            f" {have / 2**30:,.0f}; give a smaller --batch_size"
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
