"""Devices: which ones, how they share a batch, and what compiles the step."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any

import keras
import tensorflow as tf

from trainer import multi_worker
from trainer.errors import UsageError
from trainer.processes import Processes
from trainer.topology import Topology

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def discover() -> None:
    """Lets TensorFlow find the devices, and write its notes about them."""
    tf.config.list_physical_devices()


class _Process:
    """What TensorFlow cannot be asked, and cannot take back."""

    deterministic = False


def configure(logical_cpus: int, deterministic: str = "auto") -> None:
    """Sets up the devices; must run before TensorFlow uses any.

    Args:
      logical_cpus: number of devices to split the CPU into.
      deterministic: see `use_determinism`; of the whole process from then on.

    Raises:
      UsageError: TensorFlow is already running otherwise.
    """
    if use_determinism(deterministic):
        tf.config.experimental.enable_op_determinism()
        _Process.deterministic = True
    elif _Process.deterministic:
        raise UsageError(
            f"--deterministic={deterministic}: this process already runs with"
            " on; start a new one"
        )
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    cpu = tf.config.list_physical_devices("CPU")[0]
    if logical_cpus > 1:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * logical_cpus
            )
        except RuntimeError:
            have = len(tf.config.list_logical_devices("CPU"))
            if have < logical_cpus:
                raise UsageError(
                    f"--logical_cpus={logical_cpus}: this process already"
                    f" runs with {have}; start a new one"
                ) from None


def make_strategy(
    name: str,
    batch_size: int,
    logical_cpus: int,
    topology: Topology = Topology(),  # noqa: B008, frozen
) -> tf.distribute.Strategy:
    """The distribution strategy.

    Args:
      name: auto, one_device, mirrored or multi_worker.
      batch_size: the global batch, which the replicas share evenly.
      logical_cpus: number of CPU devices that `mirrored` uses without GPUs.
      topology: of the job. Where it has several processes their strategy is
        taken, which has to come before all other uses of a device; where it
        has one, multi_worker does what auto does.

    Raises:
      UsageError: the batch cannot be shared evenly.
      TrainerError: some of the processes did not come.
    """
    strategy = _strategy(name, logical_cpus, topology)
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UsageError(
            f"--batch_size={batch_size}: not divisible by the {replicas}"
            " replicas that share it; give a multiple of"
            f" {replicas}, or --strategy=one_device"
        )
    return strategy


def _strategy(
    name: str, logical_cpus: int, topology: Topology
) -> tf.distribute.Strategy:
    if topology.count > 1:
        gpu_count = len(tf.config.list_physical_devices("GPU"))
        return multi_worker.join(topology, gpu_count)
    gpus = [d.name for d in tf.config.list_logical_devices("GPU")]
    cpus = [d.name for d in tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name != "one_device" and len(gpus) > 1):
        return _mirrored(tuple(gpus or cpus[:logical_cpus]))
    return tf.distribute.OneDeviceStrategy((gpus or cpus)[0])


def strategy_line(
    strategy: tf.distribute.Strategy, processes: Processes
) -> str:
    """What was chosen, for the log."""
    replicas = strategy.num_replicas_in_sync
    shown = f"{replicas} replica{'s' * (replicas > 1)}"
    here = ", ".join(strategy.extended.worker_devices)
    if processes.count > 1:
        return (
            f"multi_worker, {processes.count} processes, {shown}, here {here}"
        )
    one = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    return f"{'one_device' if one else 'mirrored'}, {shown}, {here}"


@functools.cache
def _mirrored(names: tuple[str, ...]) -> tf.distribute.Strategy:
    # One for all runs of a process: every strategy numbers its all-reduces
    # from the same start, and TensorFlow aborts one whose number it has seen
    # with another shape.
    return tf.distribute.MirroredStrategy(names)


def use_xla(xla: str) -> bool:
    """Whether the step is compiled; `auto` only where it was seen to pay."""
    if xla == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return xla == "on"


def all_cpus(strategy: tf.distribute.Strategy) -> bool:
    """Whether every replica runs on a CPU of this process."""
    devices = strategy.extended.worker_devices
    return all("CPU" in device for device in devices) and not (
        tf.config.list_physical_devices("GPU")
    )


def use_determinism(deterministic: str) -> bool:
    """Whether operations must repeat bit for bit; `auto` where it is free."""
    if deterministic == "auto":
        return not tf.config.list_physical_devices("GPU")
    return deterministic == "on"


def set_precision(precision: str) -> None:
    """Makes Keras build layers that compute in float32 or bfloat16."""
    keras.config.set_dtype_policy(_POLICIES[precision])


def environment(
    strategy: tf.distribute.Strategy, processes: Processes
) -> dict[str, Any]:
    """The facts of a machine and a process; `drift.FACTS` is their list."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return {
        "tensorflow": f"{tf.__version__} ({tf.version.GIT_VERSION})",
        "keras": keras.__version__,
        "python": platform.python_version(),
        # Its kernels round otherwise than TensorFlow's own.
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "gpus": _gpus(),
        "cpu_count": _usable_cpus(),
        "intra_op_threads": threads,
        "devices": list(strategy.extended.worker_devices),
        "replicas": strategy.num_replicas_in_sync,
        "processes": processes.count,
    }


def _gpus() -> list[str]:
    """Their models; the names of devices are alike on every machine."""
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", "?")
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def _processor() -> str:
    """The processor's model, where the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _usable_cpus() -> int | None:
    """Those that this process may run on; TensorFlow sizes its threads so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
