"""Chooses and creates the distribution strategy of a run."""

from __future__ import annotations

import functools

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import AUTO, LOCAL, TPU
from trainer.config.ranges import parse_gpus
from trainer.distribute import multi_worker
from trainer.distribute.processes import Processes
from trainer.distribute.topology import MULTI_WORKER, Topology
from trainer.distribute.tpu import connect_tpu
from trainer.distribute.tpu import find_tpu as find_tpu
from trainer.errors import UsageError

ONE_DEVICE, MIRRORED = "one_device", "mirrored"


def choose(
    config: Config, topology: Topology, *, gpus: int, evidence: str
) -> str:
    """Returns the strategy's name: one_device, mirrored, multi_worker or tpu.

    This is a pure function of its arguments.

    Args:
      config: the configuration of the run.
      topology: the processes of the job.
      gpus: number of GPUs that the run may use.
      evidence: evidence of a TPU in this machine; "" if it has none.

    Raises:
      UsageError: the requested device is missing, or the request is
        ambiguous.
    """
    asked = config.strategy
    named = f"--tpu={config.tpu}" if config.tpu else f"--strategy={asked}"
    tpu_allowed = asked in (AUTO, TPU) and config.gpus is None
    if config.tpu or asked == TPU or (tpu_allowed and evidence):
        if topology.count > 1:
            raise UsageError(
                f"{named}: {topology.source} names {topology.count} processes,"
                " but a TPU is used by one process; give --strategy=tpu, or"
                " --strategy=multi_worker to train without the TPU"
            )
        if (config.tpu or LOCAL) == LOCAL and not evidence:
            raise UsageError(
                f"{named}: TensorFlow {tf.__version__} sees no TPU in this"
                " machine; on a TPU VM install tensorflow-tpu with its libtpu"
                " (BUILD.md), elsewhere give --strategy=auto"
            )
        if config.xla == "off":
            raise UsageError(
                f"--xla=off: not possible on a TPU ({evidence or named}),"
                " which always compiles; give --xla=auto, or"
                " --strategy=one_device to train without the TPU"
            )
        return TPU
    if topology.count > 1:
        return MULTI_WORKER
    if asked == MIRRORED or (asked != ONE_DEVICE and gpus > 1):
        return MIRRORED
    return ONE_DEVICE


def strategy_name(config: Config, topology: Topology) -> str:
    """Returns the result of `choose` for this machine; uses no device.

    Raises:
      UsageError: see `choose`.
    """
    gpus = (
        len(tf.config.list_physical_devices("GPU"))
        if config.gpus is None
        else len(parse_gpus(config.gpus))
    )
    return choose(config, topology, gpus=gpus, evidence=find_tpu())


def make_strategy(
    name: str,
    batch_size: int,
    logical_cpus: int = 1,
    topology: Topology = Topology(),  # noqa: B008, frozen
    *,
    tpu: str | None = None,
    accumulate_steps: int = 1,
) -> tf.distribute.Strategy:
    """Creates the distribution strategy.

    Args:
      name: a result of `choose`.
      batch_size: the size of the global batch, which must be divisible by the
        number of replicas times `accumulate_steps`; 0 skips the check.
      logical_cpus: number of CPU devices that mirrored uses without GPUs.
      topology: the processes of the job. If there are several, this call must
        come before any other use of a device.
      tpu: the TPU to use; None is the TPU of this machine.
      accumulate_steps: number of parts of each replica's share.

    Raises:
      UsageError: the batch size is not divisible.
      TrainerError: a process did not join, or the TPU cannot be used.
    """
    strategy = _strategy(name, logical_cpus, topology, tpu)
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * accumulate_steps):
        each = ""
        if accumulate_steps > 1:
            each = f" in {accumulate_steps} parts each (--accumulate_steps)"
        raise UsageError(
            f"--batch_size={batch_size}: not divisible by the {replicas}"
            f" replicas that share it{each}; give a multiple of"
            f" {replicas * accumulate_steps}, or --strategy=one_device"
        )
    return strategy


def _strategy(
    name: str, logical_cpus: int, topology: Topology, tpu: str | None
) -> tf.distribute.Strategy:
    if name == MULTI_WORKER:
        gpu_count = len(tf.config.get_visible_devices("GPU"))
        return multi_worker.join(topology, gpu_count)
    if name == TPU:
        return connect_tpu(tpu or LOCAL)
    gpus = [d.name for d in tf.config.list_logical_devices("GPU")]
    cpus = [d.name for d in tf.config.list_logical_devices("CPU")]
    if name == MIRRORED:
        return _mirrored(tuple(gpus or cpus[:logical_cpus]))
    return tf.distribute.OneDeviceStrategy((gpus or cpus)[0])


# Cached, because each new strategy numbers its all-reduces from the same start,
# and TensorFlow aborts an all-reduce if an earlier one with the same number had
# another shape.
@functools.cache
def _mirrored(device_names: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(device_names)


def on_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the replicas run on a TPU."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def on_far_tpu(strategy: tf.distribute.Strategy, tpu: str | None) -> bool:
    """Returns whether the replicas run on a TPU of another host.

    That host cannot call Python functions of this process.

    Args:
      strategy: the strategy of the run.
      tpu: the value of `--tpu`.
    """
    return on_tpu(strategy) and tpu not in (None, LOCAL)


def strategy_line(
    strategy: tf.distribute.Strategy,
    processes: Processes,
    gpus: str | None = None,
) -> str:
    """Returns one line for the user: strategy, replicas and devices.

    Args:
      strategy: the strategy of the run.
      processes: the processes of the job.
      gpus: the value of `--gpus`. It is shown because TensorFlow renumbers
        the GPUs that it sees from 0.
    """
    replicas = strategy.num_replicas_in_sync
    shown = "1 replica" if replicas == 1 else f"{replicas} replicas"
    devices = ", ".join(strategy.extended.worker_devices)
    if gpus is not None:
        devices += f" (--gpus={gpus})"
    if processes.count > 1:
        return (
            f"{MULTI_WORKER}, {processes.count} processes, {shown}, here"
            f" {devices}"
        )
    name = MIRRORED
    if on_tpu(strategy):
        name = TPU
    elif isinstance(strategy, tf.distribute.OneDeviceStrategy):
        name = ONE_DEVICE
    return f"{name}, {shown}, {devices}"
