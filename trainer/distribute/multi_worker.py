"""Joins several processes under one strategy, and detects a lost process."""

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

# The limit for a process that hangs. It is long, because the other processes
# wait while the chief checks the images. A dead process is detected within ten
# seconds, by its missing heartbeat.
_COLLECTIVE_SECONDS = 1800.0
# First port and number of ports; operating systems assign ports from 32768 on.
_SLURM_PORTS = (20_000, 12_000)
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


def addresses_of(topology: Topology) -> tuple[str, ...]:
    """Returns HOST:PORT of every process, the chief's first."""
    if topology.addresses:
        return topology.addresses
    # Jobs on one host must not share ports. Their ids are often consecutive,
    # so each id gets 16 ports.
    first, ports = _SLURM_PORTS
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=first + job * 16 % ports,
        # srun assigns the GPUs of a task.
        gpus_per_node=0,
        gpus_per_task=0,
        auto_set_gpu=False,
    )
    return tuple(resolver.cluster_spec().as_dict()["worker"])


# Cached, because TensorFlow can join a cluster only once per process, before it
# uses any device.
@functools.cache
def join(
    topology: Topology, gpus: int
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for the other processes and returns their common strategy.

    Args:
      topology: several processes.
      gpus: number of GPUs of this process; all processes have the same.

    Raises:
      TrainerError: some processes did not connect in time.
    """
    addresses = addresses_of(topology)
    wait_for_all(addresses, topology.index)
    # All processes are "worker"; the first address is the chief's.
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
    # TensorFlow's coordination service installs its own SIGTERM handler.
    with interrupt.at_once():
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)


def processes_of(
    strategy: tf.distribute.Strategy, topology: Topology
) -> Processes:
    """Returns the processes of a job, which sum vectors with the strategy.

    Args:
      strategy: the strategy of all processes.
      topology: the processes of the job.
    """
    if topology.count == 1:
        return ALONE
    local = strategy.num_replicas_in_sync // topology.count

    def part(row: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % local == 0
        # One replica of each process contributes its row.
        own = tf.where(first, row, tf.zeros_like(row))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    def summed(row: tf.Tensor) -> tf.Tensor:
        found = strategy.run(part, (row,))
        return strategy.experimental_local_results(found)[0]

    compiled = tf.function(summed, autograph=False)

    def total(row: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(tf.constant(row, tf.float32)))

    return Processes(topology, total)


@contextlib.contextmanager
def working(processes: Processes) -> Iterator[None]:
    """Wraps a block that all processes run together.

    Args:
      processes: the processes of the job.

    Raises:
      TrainerError: another process exited or does not respond.
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
    """Returns a TrainerError if a lost process caused the error, else None."""
    if processes.count == 1 or not isinstance(error, _LOST):
        return None
    text = str(error.message or type(error).__name__)
    lines = (text.partition("aborted by: ")[2] or text).splitlines()
    # The next line names the task.
    reason = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])
    return TrainerError(
        f"another of the {processes.count} processes exited or does not"
        f" respond ({shortened(reason)}); check its log, then start all"
        " processes again with the same command: training resumes from the"
        " last checkpoint"
    )
