"""The order of the samples, and the part of it that each reader takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

# The row number that stands for padding.
PADDING = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of every global batch that one reader takes.

    Replica r gets the positions [r * b, (r + 1) * b) of the global batch,
    where b is `replica_batch`. Pipeline p feeds the replicas
    [p * R / P, (p + 1) * R / P).

    Attributes:
      global_batch: examples per step, over all replicas.
      num_replicas: R, which divides `global_batch`.
      pipeline: p, in [0, P).
      num_pipelines: P, which divides R.

    Raises:
      ValueError: the numbers do not divide evenly.
    """

    global_batch: int
    num_replicas: int
    pipeline: int = 0
    num_pipelines: int = 1

    def __post_init__(self) -> None:
        if (
            self.global_batch % self.num_replicas
            or self.num_replicas % self.num_pipelines
            or not 0 <= self.pipeline < self.num_pipelines
        ):
            raise ValueError(f"{self}: does not divide evenly")

    @property
    def replica_batch(self) -> int:
        """Number of examples per element."""
        return self.global_batch // self.num_replicas

    @property
    def local_replicas(self) -> int:
        """Number of elements per global step."""
        return self.num_replicas // self.num_pipelines

    @property
    def local_batch(self) -> int:
        """Number of examples that this reader reads per global step."""
        return self.global_batch // self.num_pipelines

    def rows(self, order: tf.Tensor, *, partners: bool = False) -> tf.Tensor:
        """Returns this reader's part of one pass over the samples.

        Args:
          order: int64 (n,), the row numbers of all samples in their order.
          partners: whether to append one row to the rows of each replica:
            the partner that its last example is mixed with. It is the next row
            of the global batch, or the first row for the last example.

        Returns:
          int64 (steps * local_batch,), with `PADDING` where the last global
          batch has no samples left. With `partners`, there is one more row per
          step and local replica. It is `PADDING` if the replica has no
          examples, or if the global batch has only one.
        """
        steps = steps_per_epoch(order.shape[0], self.global_batch)
        padding = steps * self.global_batch - order.shape[0]
        padded = tf.pad(order, ((0, padding),), constant_values=PADDING)
        rows = tf.reshape(
            padded, (steps, self.num_replicas, self.replica_batch)
        )
        if partners:
            partner = self._partners(padded, order.shape[0], steps)
            rows = tf.concat([rows, partner[:, :, None]], axis=2)
        first = self.pipeline * self.local_replicas
        return tf.reshape(rows[:, first : first + self.local_replicas], (-1,))

    def _partners(self, padded: tf.Tensor, n: int, steps: int) -> tf.Tensor:
        """Returns each replica's last partner, int64 (steps, num_replicas)."""
        begin = np.arange(steps)[:, None] * self.global_batch
        real = np.minimum(n - begin, self.global_batch)
        replica = np.arange(self.num_replicas) * self.replica_batch
        after = np.minimum(replica + self.replica_batch, real)
        place = begin + after % real
        alone = (after <= replica) | (real < 2)
        return tf.where(
            alone, tf.cast(PADDING, tf.int64), tf.gather(padded, place)
        )


def epoch_order(n: int, seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """Returns the order of the samples in an epoch; a pure function.

    Args:
      n: number of samples.
      seed: in [-2**63, 2**63).
      epoch: number of the epoch, from 0; int64 if it is a tensor.

    Returns:
      int64 (n,), a permutation of 0 ... n - 1.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_shuffle(
        tf.range(n, dtype=tf.int64), key, alg="philox"
    )


def steps_per_epoch(n: int, global_batch: int) -> int:
    """Returns the steps that show each of n samples once.

    The last batch is padded.
    """
    return -(-n // global_batch)


def training_rows(
    n: int,
    shard: Shard,
    seed: int,
    *,
    start_step: int,
    total_steps: int,
    partners: bool,
) -> tf.data.Dataset:
    """Returns the row number and epoch of each example that a stage reads.

    Args:
      n: number of samples.
      shard: see `batches.training_batches`.
      seed: see `batches.training_batches`.
      start_step: see `batches.training_batches`.
      total_steps: see `batches.training_batches`.
      partners: see `Shard.rows`.
    """
    steps = steps_per_epoch(n, shard.global_batch)
    first_epoch, steps_into_it = divmod(start_step, steps)
    rows_per_step = shard.local_batch
    if partners:
        rows_per_step += shard.local_replicas

    @tf.autograph.experimental.do_not_convert
    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        rows = shard.rows(epoch_order(n, seed, epoch), partners=partners)
        return tf.data.Dataset.from_tensor_slices(
            (rows, tf.fill(rows.shape, epoch))
        )

    epochs = tf.data.Dataset.range(first_epoch, -(-total_steps // steps))
    # Skips row numbers rather than elements, so nothing is read in vain.
    return (
        epochs.flat_map(epoch_rows)
        .skip(steps_into_it * rows_per_step)
        .take((total_steps - start_step) * rows_per_step)
    )
