"""Order, decoding, batching, padding and masking, in `tf.data`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.augment import affine, draw_parameters
from trainer.data.decode import decode_image, read_encoded, resize
from trainer.data.samples import Samples

# The row number that stands for padding.
_PADDING = -1
# Global steps that wait decoded. Bounded by hand: what AUTOTUNE would let
# pile up is some 20 MB a batch of 32 at 224 px.
_PREFETCH_STEPS = 2

Element = dict[str, tf.Tensor]
Load = Callable[..., Element]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of every global batch one reader takes.

    Replica r has the positions [r * b, (r + 1) * b) of the global batch, b
    being `replica_batch`; pipeline p feeds the replicas
    [p * R / P, (p + 1) * R / P).

    Attributes:
      global_batch: examples in a step, over all replicas.
      num_replicas: R, which divides `global_batch`.
      pipeline: p, in [0, P).
      num_pipelines: P, which divides R.
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
        """Examples in an element."""
        return self.global_batch // self.num_replicas

    @property
    def local_replicas(self) -> int:
        """Elements for each global step."""
        return self.num_replicas // self.num_pipelines

    @property
    def local_batch(self) -> int:
        """Examples in a global step that this reader reads."""
        return self.global_batch // self.num_pipelines


def epoch_order(n: int, seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """The order of the samples in an epoch: a pure function.

    Args:
      n: number of samples.
      seed: in [-2**63, 2**63).
      epoch: from 0; int64 if a tensor.

    Returns:
      int64 (n,), a permutation of 0 ... n - 1.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_shuffle(
        tf.range(n, dtype=tf.int64), key, alg="philox"
    )


def steps_per_epoch(n: int, global_batch: int) -> int:
    """Steps that show each of n samples once; the last batch is padded."""
    return -(-n // global_batch)


def training_batches(
    samples: Samples,
    *,
    image_px: int,
    shard: Shard,
    seed: int,
    start_step: int,
    total_steps: int,
    augment: bool,
) -> tf.data.Dataset:
    """The batches of a stage, epoch after epoch, without a break between.

    Args:
      samples: what an epoch consists of; at least one.
      image_px: side of the pictures.
      shard: the part of each global batch to yield.
      seed: decides order and augmentation.
      start_step: steps of this stage to leave out. The rest is what it would
        be without; nothing is read for those left out.
      total_steps: at which the stage ends, counted from its first step.
      augment: whether to draw matrices.

    Returns:
      A dataset of (total_steps - start_step) * shard.local_replicas elements,
      for each step one a replica, in order. With b = shard.replica_batch an
      element has `images` float32 (b, image_px, image_px, 3) in 0..255, not
      yet augmented; `labels` int32 (b,); `mask` float32 (b,), 1, or 0 where
      the last batch of an epoch is padded (with zeros); and, if `augment`,
      `matrices` float32 (b, 2, 2) for `augment.warp`.

    Raises:
      ValueError: start_step is not in 0 ... total_steps.
      tf.errors.OpError: while iterating, if a file cannot be decoded.
    """
    if not 0 <= start_step <= total_steps:
        raise ValueError(f"{start_step=}: not in 0 ... {total_steps}")
    steps = steps_per_epoch(len(samples), shard.global_batch)
    first_epoch, steps_into_it = divmod(start_step, steps)

    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        order = epoch_order(len(samples), seed, epoch)
        rows = _local_rows(order, steps, shard)
        return tf.data.Dataset.from_tensor_slices(
            (rows, tf.fill(rows.shape, epoch))
        )

    epochs = tf.data.Dataset.range(first_epoch, -(-total_steps // steps))
    # Row numbers are skipped, before anything is read.
    rows = (
        epochs.flat_map(epoch_rows)
        .skip(steps_into_it * shard.local_batch)
        .take((total_steps - start_step) * shard.local_batch)
    )
    load = _loader(samples, image_px)
    if augment:
        return _batches(rows, _with_matrix(load, samples, seed), shard)
    return _batches(rows.map(lambda row, epoch: row), load, shard)


def evaluation_batches(
    samples: Samples, *, image_px: int, shard: Shard
) -> tf.data.Dataset:
    """One pass over the samples, in their order.

    Args:
      samples: each is yielded once.
      image_px: side of the pictures.
      shard: the part of each global batch to yield.

    Returns:
      A dataset of steps * shard.local_replicas elements, as
      `training_batches` yields them, without matrices. In the last global
      batch an element may be all padding.

    Raises:
      tf.errors.OpError: while iterating, if a file cannot be decoded.
    """
    steps = steps_per_epoch(len(samples), shard.global_batch)
    order = tf.range(len(samples), dtype=tf.int64)
    rows = tf.data.Dataset.from_tensor_slices(_local_rows(order, steps, shard))
    return _batches(rows, _loader(samples, image_px), shard)


def _local_rows(order: tf.Tensor, steps: int, shard: Shard) -> tf.Tensor:
    """int64 (steps * local_batch,): this reader's part of an epoch."""
    padding = steps * shard.global_batch - order.shape[0]
    padded = tf.pad(order, ((0, padding),), constant_values=_PADDING)
    by_pipeline = tf.reshape(
        padded, (steps, shard.num_pipelines, shard.local_batch)
    )
    return tf.reshape(by_pipeline[:, shard.pipeline], (-1,))


def _loader(samples: Samples, image_px: int) -> Load:
    """Row number, int64 scalar -> its image, label and mask."""
    # As bytes: a file's name need not be text.
    paths = tf.constant([os.fsencode(path) for path in samples.paths])
    offsets = tf.constant(samples.offsets, tf.int64)
    lengths = tf.constant(samples.lengths, tf.int64)
    labels = tf.constant(samples.labels.astype(np.int32))

    def image(row: tf.Tensor) -> tf.Tensor:
        encoded = read_encoded(
            paths[row], offsets[row], lengths[row], samples.record_image_key
        )
        return resize(decode_image(encoded), image_px)

    def load(row: tf.Tensor) -> Element:
        real = row != _PADDING
        return {
            "images": tf.cond(
                real,
                lambda: image(row),
                lambda: tf.zeros((image_px, image_px, 3)),
            ),
            "labels": tf.where(real, labels[tf.maximum(row, 0)], 0),
            "mask": tf.cast(real, tf.float32),
        }

    return load


def _with_matrix(load: Load, samples: Samples, seed: int) -> Load:
    """(Row number, epoch), int64 scalars -> what `load` gives, and a matrix."""
    hashes = tf.constant(samples.id_hashes(), tf.int64)

    def load_and_draw(row: tf.Tensor, epoch: tf.Tensor) -> Element:
        id_hash = hashes[tf.maximum(row, 0)]
        matrix = affine(draw_parameters(seed, epoch, id_hash))
        drawn = tf.where(row != _PADDING, matrix, tf.eye(2))
        return {**load(row), "matrices": drawn}

    return load_and_draw


def _batches(
    rows: tf.data.Dataset, load: Load, shard: Shard
) -> tf.data.Dataset:
    return (
        rows.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(shard.replica_batch, drop_remainder=True)
        .prefetch(_PREFETCH_STEPS * shard.local_replicas)
    )
