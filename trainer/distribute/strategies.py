"""Which devices a run takes, and the strategy by which they share a batch."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import socket
from collections.abc import Mapping

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import AUTO, LOCAL, TPU
from trainer.config.ranges import parse_gpus
from trainer.distribute import multi_worker
from trainer.distribute.processes import Processes
from trainer.distribute.topology import MULTI_WORKER, Topology
from trainer.errors import TrainerError, UsageError, one_line, shortened

ONE_DEVICE, MIRRORED = "one_device", "mirrored"
# A TPU VM and a pod of GKE have some of these; they alone prove nothing.
_TPU_VARIABLES = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "TPU_WORKER_ID")
_TPU_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_GRPC = "grpc://"
_CONNECT_SECONDS = 10.0


def choose(
    config: Config, topology: Topology, *, gpus: int, evidence: str
) -> str:
    """one_device, mirrored, multi_worker or tpu: a pure function.

    Args:
      config: of the flags.
      topology: the processes of the job.
      gpus: how many of them the run may use.
      evidence: of a TPU in this machine; "" where there is none.

    Raises:
      UsageError: what is asked for is not there, or may mean two things.
    """
    asked = config.strategy
    named = f"--tpu={config.tpu}" if config.tpu else f"--strategy={asked}"
    free = asked in (AUTO, TPU) and config.gpus is None
    if config.tpu or asked == TPU or (free and evidence):
        if topology.count > 1:
            raise UsageError(
                f"{named}: {topology.source} names {topology.count} processes,"
                " and one process uses a TPU; give --strategy=tpu, or"
                " multi_worker to do without the TPU"
            )
        if (config.tpu or LOCAL) == LOCAL and not evidence:
            raise UsageError(
                f"{named}: TensorFlow {tf.__version__} sees no TPU in this"
                " machine; on a TPU VM install tensorflow-tpu with its libtpu"
                " (BUILD.md), elsewhere give --strategy=auto"
            )
        if config.xla == "off":
            raise UsageError(
                f"--xla=off: not possible on a TPU ({evidence or named}), whose"
                " runtime always compiles; give --xla=auto, or"
                " --strategy=one_device to do without the TPU"
            )
        return TPU
    if topology.count > 1:
        return MULTI_WORKER
    if asked == MIRRORED or (asked != ONE_DEVICE and gpus > 1):
        return MIRRORED
    return ONE_DEVICE


def kind_of(config: Config, topology: Topology) -> str:
    """What `choose` makes of this machine; no device is used for it.

    Raises:
      UsageError: see `choose`.
    """
    gpus = (
        len(tf.config.list_physical_devices("GPU"))
        if config.gpus is None
        else len(parse_gpus(config.gpus))
    )
    return choose(config, topology, gpus=gpus, evidence=find_tpu())


def find_tpu() -> str:
    """Evidence of a TPU in this machine, without asking a network; or ""."""
    library = os.environ.get("TPU_LIBRARY_PATH", "")
    return tpu_evidence(
        listed=len(tf.config.list_physical_devices("TPU")),
        libtpu=os.path.exists(library)
        or importlib.util.find_spec("libtpu") is not None,
        files=[path for name in _TPU_FILES for path in glob.glob(name)],
        environment=os.environ,
    )


def tpu_evidence(
    *,
    listed: int,
    libtpu: bool,
    files: list[str],
    environment: Mapping[str, str],
) -> str:
    """Why a TPU is taken to be there: a pure function; "" if it is not.

    Args:
      listed: TPU devices that TensorFlow lists.
      libtpu: whether its driver is installed. JAX brings it to machines
        without a TPU.
      files: of devices that may be TPUs, or other accelerators.
      environment: of the process.
    """
    if listed:
        return f"TensorFlow lists {listed} TPU devices"
    variables = [name for name in _TPU_VARIABLES if environment.get(name)]
    if libtpu and files and variables:
        return f"libtpu, {files[0]}, {variables[0]}"
    return ""


def make_strategy(
    kind: str,
    batch_size: int,
    logical_cpus: int = 1,
    topology: Topology = Topology(),  # noqa: B008, frozen
    *,
    tpu: str | None = None,
    parts: int = 1,
) -> tf.distribute.Strategy:
    """The distribution strategy.

    Args:
      kind: as `choose` gives it.
      batch_size: the global batch, which the replicas share evenly; 0 asks
        for no such thing.
      logical_cpus: number of CPU devices that mirrored uses without GPUs.
      topology: of the job. That of several processes has to come before all
        other uses of a device.
      tpu: which one; None is that of this machine.
      parts: that each replica takes its share in.

    Raises:
      UsageError: the batch cannot be shared evenly.
      TrainerError: some of the processes did not come; the TPU cannot be used.
    """
    strategy = _strategy(kind, logical_cpus, topology, tpu)
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * parts):
        each = f" in {parts} parts each (--accumulate_steps)" * (parts > 1)
        raise UsageError(
            f"--batch_size={batch_size}: not divisible by the {replicas}"
            f" replicas that share it{each}; give a multiple of"
            f" {replicas * parts}, or --strategy=one_device"
        )
    return strategy


def _strategy(
    kind: str, logical_cpus: int, topology: Topology, tpu: str | None
) -> tf.distribute.Strategy:
    if kind == MULTI_WORKER:
        gpu_count = len(tf.config.get_visible_devices("GPU"))
        return multi_worker.join(topology, gpu_count)
    if kind == TPU:
        return _tpu(tpu or LOCAL)
    gpus = [d.name for d in tf.config.list_logical_devices("GPU")]
    cpus = [d.name for d in tf.config.list_logical_devices("CPU")]
    if kind == MIRRORED:
        return _mirrored(tuple(gpus or cpus[:logical_cpus]))
    return tf.distribute.OneDeviceStrategy((gpus or cpus)[0])


@functools.cache
def _mirrored(names: tuple[str, ...]) -> tf.distribute.Strategy:
    # One for all runs of a process: every strategy numbers its all-reduces
    # from the same start, and TensorFlow aborts one whose number it has seen
    # with another shape.
    return tf.distribute.MirroredStrategy(names)


@functools.cache
def _tpu(name: str) -> tf.distribute.Strategy:
    # One for all runs of a process: to initialize a TPU again is to lose the
    # variables on it.
    try:
        _check_reachable(name)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (
        tf.errors.OpError,
        ImportError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        # Google's client wraps what it is refused in errors of many kinds.
        text = error.message if isinstance(error, tf.errors.OpError) else error
        reason = shortened(one_line(str(text).partition("\n")[0]))
        raise TrainerError(
            f"--tpu={name}: cannot be used ({reason}); see that no other"
            " process holds it and that tensorflow-tpu fits its libtpu"
            " (BUILD.md), or give --strategy=one_device"
        ) from error


def _check_reachable(name: str) -> None:
    """Raises OSError, where TensorFlow would wait for minutes."""
    if name.startswith(_GRPC):
        host, _, port = name.removeprefix(_GRPC).rpartition(":")
        address = host.strip("[]"), int(port)
        socket.create_connection(address, _CONNECT_SECONDS).close()


def on_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are a TPU's."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def on_far_tpu(strategy: tf.distribute.Strategy, tpu: str | None) -> bool:
    """Whether it is a TPU on the network, whose host cannot call our Python.

    Args:
      strategy: of the run.
      tpu: `--tpu`.
    """
    return on_tpu(strategy) and tpu not in (None, LOCAL)


def strategy_line(
    strategy: tf.distribute.Strategy,
    processes: Processes,
    gpus: str | None = None,
) -> str:
    """What was chosen, for the log.

    Args:
      strategy: of the run.
      processes: of the job.
      gpus: the flag. TensorFlow numbers what it sees from 0 again.
    """
    replicas = strategy.num_replicas_in_sync
    shown = f"{replicas} replica{'s' * (replicas > 1)}"
    here = ", ".join(strategy.extended.worker_devices)
    here += f" (--gpus={gpus})" * (gpus is not None)
    if processes.count > 1:
        return (
            f"multi_worker, {processes.count} processes, {shown}, here {here}"
        )
    one = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    kind = TPU if on_tpu(strategy) else ONE_DEVICE if one else MIRRORED
    return f"{kind}, {shown}, {here}"
