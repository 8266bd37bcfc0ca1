"""Devices: what they are set to, and what a machine consists of."""

from __future__ import annotations

import os
import platform
from typing import Any

import keras
import tensorflow as tf

from trainer.config.ranges import parse_gpus
from trainer.distribute.processes import Processes
from trainer.errors import UsageError

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def discover() -> None:
    """Lets TensorFlow find the devices, and write its notes about them."""
    tf.config.list_physical_devices()


class _Process:
    """What TensorFlow cannot be asked, and cannot take back."""

    deterministic = False


def configure(
    logical_cpus: int,
    deterministic: str = "auto",
    gpus: str | None = None,
    *,
    tpu: bool = False,
) -> None:
    """Sets up the devices; must run before TensorFlow uses any.

    Args:
      logical_cpus: number of devices to split the CPU into.
      deterministic: see `use_determinism`; of the whole process from then on.
      gpus: numbers of those to use, separated by commas; None leaves all.
      tpu: whether a TPU trains.

    Raises:
      UsageError: there is no such GPU; TensorFlow is already running
        otherwise.
    """
    if gpus is not None:
        show_gpus(gpus)
    if use_determinism(deterministic, tpu=tpu):
        tf.config.experimental.enable_op_determinism()
        _Process.deterministic = True
    elif _Process.deterministic:
        raise UsageError(
            f"--deterministic={deterministic}: this process already runs with"
            " on; start a new one"
        )
    for gpu in tf.config.get_visible_devices("GPU"):
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


def show_gpus(asked: str) -> None:
    """Lets TensorFlow see some GPUs of the machine, and no others.

    Raises:
      UsageError: there is no such GPU; TensorFlow already uses others.
    """
    gpus = tf.config.list_physical_devices("GPU")
    numbers = parse_gpus(asked)
    if not gpus:
        raise UsageError(
            f"--gpus={asked}: TensorFlow sees no GPU in this machine; leave it"
            " out to use the CPU, or install the '[cuda]' extra (BUILD.md)"
        )
    missing = [number for number in numbers if number >= len(gpus)]
    if missing:
        have = ", ".join(str(number) for number in range(len(gpus)))
        raise UsageError(
            f"--gpus={asked}: this machine has no GPU {missing[0]}; give some"
            f" of {have}"
        )
    try:
        tf.config.set_visible_devices([gpus[n] for n in numbers], "GPU")
    except RuntimeError:
        raise UsageError(
            f"--gpus={asked}: this process already uses other GPUs; start a"
            " new one"
        ) from None


def use_xla(xla: str, *, tpu: bool = False) -> bool:
    """Whether the step is compiled; `auto` only where it was seen to pay.

    Args:
      xla: of the flag.
      tpu: whether this process has a TPU. Its runtime compiles by itself, and
        what asks for XLA besides is compiled for a host that lacks it.
    """
    if tpu:
        return False
    if xla == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return xla == "on"


def all_cpus(strategy: tf.distribute.Strategy) -> bool:
    """Whether every replica runs on a CPU of this process."""
    devices = strategy.extended.worker_devices
    return all("CPU" in device for device in devices) and not (
        tf.config.list_physical_devices("GPU")
    )


def use_determinism(deterministic: str, *, tpu: bool = False) -> bool:
    """Whether operations must repeat bit for bit; `auto` where it is free.

    On a TPU that was never tried.
    """
    if deterministic == "auto":
        return not tpu and not tf.config.list_physical_devices("GPU")
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
        "gpu_models": _gpu_models(),
        "cpu_count": _usable_cpus(),
        "intra_op_threads": threads,
        "devices": list(strategy.extended.worker_devices),
        "replicas": strategy.num_replicas_in_sync,
        "processes": processes.count,
    }


def _gpu_models() -> list[str]:
    """Of those in use; the names of devices are alike on every machine."""
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", "?")
        for gpu in tf.config.get_visible_devices("GPU")
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
