"""Configures the devices of this process, and describes the machine."""

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
    """Makes TensorFlow find the devices and log its messages about them."""
    tf.config.list_physical_devices()


class _Process:
    """State of the process that TensorFlow cannot report or reset."""

    deterministic = False


def configure(
    logical_cpus: int,
    deterministic: str = "auto",
    gpus: str | None = None,
    *,
    tpu: bool = False,
) -> None:
    """Configures the devices; call before TensorFlow uses any of them.

    Args:
      logical_cpus: number of devices to split the CPU into.
      deterministic: see `use_determinism`; applies until the process ends.
      gpus: the numbers of the GPUs to use, separated by commas; None is all.
      tpu: whether the run uses a TPU.

    Raises:
      UsageError: a GPU is missing, or this process already runs TensorFlow
        with another configuration.
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
    """Hides all GPUs from TensorFlow except the given ones.

    Args:
      asked: the value of `--gpus`.

    Raises:
      UsageError: a GPU is missing, or TensorFlow already uses others.
    """
    gpus = tf.config.list_physical_devices("GPU")
    numbers = parse_gpus(asked)
    if not gpus:
        raise UsageError(
            f"--gpus={asked}: TensorFlow sees no GPU in this machine; leave"
            " the flag out to use the CPU, or install the '[cuda]' extra"
            " (BUILD.md)"
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
    """Returns whether to set jit_compile; always False on a TPU.

    Args:
      xla: the value of `--xla`; auto is True if there is a GPU.
      tpu: whether this process has a TPU. A TPU's runtime always compiles;
        jit_compile would compile for the host instead, and fail.
    """
    if tpu:
        return False
    if xla == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return xla == "on"


def all_cpus(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether all replicas run on CPUs and there is no GPU."""
    devices = strategy.extended.worker_devices
    return all("CPU" in device for device in devices) and not (
        tf.config.list_physical_devices("GPU")
    )


def use_determinism(deterministic: str, *, tpu: bool = False) -> bool:
    """Returns whether operations must repeat bit for bit.

    Args:
      deterministic: the value of `--deterministic`; auto is True on CPUs,
        where it costs no time, and False on TPUs, where it is untested.
      tpu: whether the run uses a TPU.
    """
    if deterministic == "auto":
        return not tpu and not tf.config.list_physical_devices("GPU")
    return deterministic == "on"


def set_precision(precision: str) -> None:
    """Sets the Keras dtype policy of new layers.

    Args:
      precision: float32 or bfloat16; bfloat16 keeps float32 variables.
    """
    keras.config.set_dtype_policy(_POLICIES[precision])


def environment(
    strategy: tf.distribute.Strategy, processes: Processes
) -> dict[str, Any]:
    """Returns the facts about the machine and the process in `drift.FACTS`."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return {
        "tensorflow": f"{tf.__version__} ({tf.version.GIT_VERSION})",
        "keras": keras.__version__,
        "python": platform.python_version(),
        # oneDNN's kernels round differently from TensorFlow's own.
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
    """Returns the model names of the visible GPUs."""
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", "?")
        for gpu in tf.config.get_visible_devices("GPU")
    ]


def _processor() -> str:
    """Returns the model name of the processor, or "" if it is unknown."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _usable_cpus() -> int | None:
    """Returns the number of CPUs that this process may run on.

    TensorFlow sizes its thread pools by this number.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
