"""Chooses the engine that runs the frozen layers, and its devices."""

from __future__ import annotations

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import AUTO
from trainer.distribute import devices
from trainer.distribute.runtime import Runtime
from trainer.errors import UsageError
from trainer.learning.stage_trunk import auto_engine
from trainer.model.trunk.device import DEVICE, TrunkDevices
from trainer.model.trunk.engines import LITERT

STEP = "step"
_TPU = "a TPU computes the whole step (--strategy)"
# The facts about a machine that may change the last bits of a feature.
_FACTS = (
    "tensorflow",
    "onednn",
    "processor",
    "cpu_count",
    "intra_op_threads",
)


def machine_facts(runtime: Runtime) -> str:
    """Returns what may change the last bits of a feature, for cache keys."""
    facts = devices.environment(runtime.strategy, runtime.processes)
    return str([facts[name] for name in _FACTS])


def choose_engine(
    config: Config, runtime: Runtime, images: int, earlier: str | None
) -> str:
    """Returns the engine that runs the trunk: step, graph, litert or device.

    Args:
      config: the resolved configuration.
      runtime: the devices of the run.
      images: number of images that will pass through the classifier.
      earlier: the engine with which the run began; None for a new run.

    Raises:
      UsageError: the devices do not support the engine of `--trunk_engine`.
    """
    asked = config.trunk_engine
    if runtime.on_tpu:
        _check(asked, _TPU if asked not in (AUTO, STEP) else "", " or step")
        return STEP
    obstacle = _obstacle(config, runtime)
    if asked == AUTO:
        if obstacle:
            return STEP if earlier == STEP else DEVICE
        return earlier or auto_engine(
            images, graph_only=not hasattr(tf, "lite")
        )
    if asked not in (STEP, DEVICE):
        _check(asked, obstacle, ", device or step")
    if asked == LITERT and not hasattr(tf, "lite"):
        raise UsageError(
            "--trunk_engine=litert: this TensorFlow has no tf.lite; give graph"
        )
    return asked


def _check(asked: str, obstacle: str, remedy: str) -> None:
    if obstacle:
        raise UsageError(
            f"--trunk_engine={asked}: not possible here: {obstacle}; give"
            f" auto{remedy}"
        )


def _obstacle(config: Config, runtime: Runtime) -> str:
    """Returns why the trunk cannot run in the input pipeline; "" if it can."""
    if runtime.xla:
        return "XLA compiles the frozen layers (--xla=off)"
    if config.precision != "float32":
        return f"it needs --precision=float32, not {config.precision}"
    if not devices.all_cpus(runtime.strategy):
        return "it runs on CPUs only"
    return ""


def trunk_devices(config: Config, runtime: Runtime) -> TrunkDevices:
    """Returns the devices of this process that run the trunk.

    Args:
      config: the resolved configuration.
      runtime: the devices of the run.
    """
    on_gpu = "GPU" in runtime.strategy.extended.worker_devices[0]
    replicas = runtime.strategy.num_replicas_in_sync
    facts = devices.environment(runtime.strategy, runtime.processes)
    return TrunkDevices(
        names=tuple(
            f"{'GPU' if on_gpu else 'CPU'}:{number}"
            for number in range(replicas // runtime.processes.count)
        ),
        xla=runtime.xla,
        facts={
            "precision": config.precision,
            "models": facts["gpu_models"] if on_gpu else [],
            "deterministic": runtime.deterministic,
        },
    )


def uncached(engine: str, runtime: Runtime) -> str:
    """Returns why no features are cached; "" if they are."""
    if engine != STEP:
        return ""
    return _TPU if runtime.on_tpu else "--trunk_engine=step computes all layers"
