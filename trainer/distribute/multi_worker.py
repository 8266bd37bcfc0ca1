"""Several processes under one strategy: how they find and keep each other."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.distribute.processes import ALONE, Processes
from trainer.distribute.rendezvous import wait_for_all
from trainer.distribute.topology import Topology
from trainer.errors import TrainerError, shortened

# A process that has died is noticed within ten seconds, by its heartbeat.
# This is for one that hangs; the chief may look at images for long.
_COLLECTIVE_SECONDS = 1800.0
# Below the ports that systems hand out by themselves, from 32768 on.
_SLURM_PORTS = (20_000, 12_000)
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


def addresses_of(topology: Topology) -> tuple[str, ...]:
    """HOST:PORT of every process, the chief's first."""
    if topology.addresses:
        return topology.addresses
    # Jobs that share a host must not share ports, and have ids in a row.
    first, ports = _SLURM_PORTS
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=first + job * 16 % ports,
        # Which GPUs a task sees is srun's affair.
        gpus_per_node=0,
        gpus_per_task=0,
        auto_set_gpu=False,
    )
    return tuple(resolver.cluster_spec().as_dict()["worker"])


@functools.cache
def join(
    topology: Topology, gpus: int
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for the other processes, and makes the strategy of all.

    One for all runs of a process: TensorFlow joins a cluster once, and before
    anything else that uses its devices.

    Args:
      topology: of several processes.
      gpus: of this process; all have as many.

    Raises:
      TrainerError: some did not come.
    """
    addresses = addresses_of(topology)
    wait_for_all(addresses, topology.index)
    # By position: which of them is the chief is settled.
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}),
        task_type="worker",
        task_id=topology.index,
        num_accelerators={"GPU": gpus} if gpus else {},
        rpc_layer="grpc",
    )
    options = tf.distribute.experimental.CommunicationOptions(
        timeout_seconds=_COLLECTIVE_SECONDS
    )
    # TensorFlow's coordination service takes SIGTERM for itself.
    with interrupt.at_once():
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)


def processes_of(
    strategy: tf.distribute.Strategy, topology: Topology
) -> Processes:
    """What the processes agree through."""
    if topology.count == 1:
        return ALONE
    local = strategy.num_replicas_in_sync // topology.count

    def part(row: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % local == 0
        # Of the replicas of a process one speaks for it.
        own = tf.where(first, row, tf.zeros_like(row))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    @tf.function
    def total(row: tf.Tensor) -> tf.Tensor:
        found = strategy.run(part, (row,))
        return strategy.experimental_local_results(found)[0]

    def over_all(row: np.ndarray) -> np.ndarray:
        return total(tf.constant(row, tf.float32)).numpy()

    return Processes(topology, over_all)


@contextlib.contextmanager
def working(processes: Processes) -> Iterator[None]:
    """A block that all processes go through together.

    Raises:
      TrainerError: another process is gone.
    """
    try:
        with processes.together():
            yield
    except tf.errors.OpError as error:
        lost = lost_peer(error, processes)
        if lost is None:
            raise
        raise lost from error


def lost_peer(error: Exception, processes: Processes) -> TrainerError | None:
    """What to say where another process is gone; None for other errors."""
    if processes.count == 1 or not isinstance(error, _LOST):
        return None
    text = str(error.message or type(error).__name__)
    lines = (text.partition("aborted by: ")[2] or text).splitlines()
    # Which task it was stands on a line of its own.
    reason = " ".join(lines[: 1 + lines[0].endswith(":")])
    return TrainerError(
        f"another of the {processes.count} processes is gone or does not"
        f" answer ({shortened(reason)}); see its output, then start"
        " all again with the same command: training goes on from the last"
        " checkpoint"
    )
