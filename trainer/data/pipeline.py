"""Order, decoding, batching, padding and masking, in `tf.data`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows
from trainer.data.array_records import read_records
from trainer.data.augment import affine, draw_parameters, warp
from trainer.data.decode import (
    decode_image,
    image_of_record,
    read_record,
    resize,
)
from trainer.data.samples import ARRAY_RECORD, Samples, image_digest

# The row number that stands for padding.
_PADDING = -1
# Global steps that wait decoded: some 20 MB a batch of 32 at 224 px.
_PREFETCH_STEPS = 2
# Records that are read at a time, or wait to be decoded.
_OPEN_RECORDS = 16

# Elements that a map works on at a time: one for each core that this process
# may use, as AUTOTUNE bounds them too.
PARALLEL_CALLS = (
    len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count() or 1
)

Element = dict[str, Any]
Load = Callable[..., Element]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """How a list of samples becomes what a step takes.

    Attributes:
      image_px: side of the images.
      images: cached images, uint8; None decodes them.
      trunk: float32 (n, px, px, 3) in 0..255 -> features, (n, *shape) each;
        None leaves the images to the step.
      feature_shapes: what the trunk gives, of one sample.
      features: cached features, which need neither images nor trunk.
      kernel: how `augment.warp` samples before the trunk.
    """

    image_px: int
    images: CachedRows | None = None
    trunk: Callable[[np.ndarray], list[np.ndarray]] | None = None
    feature_shapes: tuple[tuple[int, ...], ...] = ()
    features: CachedRows | None = None
    kernel: str = "projective"


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
    reading: Reading,
    shard: Shard,
    seed: int,
    start_step: int,
    total_steps: int,
    augment: bool,
) -> tf.data.Dataset:
    """The batches of a stage, epoch after epoch, without a break between.

    Args:
      samples: what an epoch consists of; at least one.
      reading: how they are read.
      shard: the part of each global batch to yield.
      seed: decides order and augmentation.
      start_step: steps of this stage to leave out. The rest is what it would
        be without; nothing is read for those left out.
      total_steps: at which the stage ends, counted from its first step.
      augment: whether to draw matrices; not with cached features.

    Returns:
      A dataset of (total_steps - start_step) * shard.local_replicas elements,
      for each step one a replica, in order. With b = shard.replica_batch an
      element has `labels` int32 (b,); `mask` float32 (b,), 1, or 0 where the
      last batch of an epoch is padded; and either `features`, a tuple of
      float32 (b, *shape), or `images` float32 (b, image_px, image_px, 3) in
      0..255 (zeros where padded), not yet augmented, and with them, if
      `augment`, `matrices` float32 (b, 2, 2) for `augment.warp`.

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
    matrix = _matrices(samples, seed) if augment else None
    return _batches(rows, samples, reading, shard, matrix)


def evaluation_batches(
    samples: Samples, *, reading: Reading, shard: Shard
) -> tf.data.Dataset:
    """One pass over the samples, in their order.

    Args:
      samples: each is yielded once.
      reading: how they are read.
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
    rows = _local_rows(order, steps, shard)
    # Of no epoch: images that are evaluated are not augmented.
    epochs = tf.zeros_like(rows)
    dataset = tf.data.Dataset.from_tensor_slices((rows, epochs))
    return _batches(dataset, samples, reading, shard, None)


def image_blocks(
    samples: Samples, rows: np.ndarray, *, image_px: int, block: int
) -> tf.data.Dataset:
    """The images of some samples, in blocks; see `checked_blocks`."""
    blocks = checked_blocks(samples, rows, image_px=image_px, block=block)
    return blocks.map(lambda images, same: images)


def checked_blocks(
    samples: Samples, rows: np.ndarray, *, image_px: int, block: int
) -> tf.data.Dataset:
    """The images of some samples, in blocks, and whether each is unchanged.

    The bytes that are decoded are compared with the sample's digest: a file
    may have changed since, and what is cached under the digest stays.

    Args:
      samples: of a split.
      rows: int64 (n,), sample numbers, in the order wanted.
      image_px: side of the images.
      block: images in a block; the last one may have fewer.

    Returns:
      A dataset of pairs: uint8 (block, image_px, image_px, 3), zeros where an
      image has changed; and bool (block,), False where it has. Samples without
      digests count as unchanged.
    """

    def whole(
        _row: tf.Tensor, _epoch: tf.Tensor, image: tf.Tensor, same: tf.Tensor
    ) -> Any:
        return tf.cast(image, tf.uint8), same

    numbered = tf.data.Dataset.from_tensor_slices((rows, np.zeros_like(rows)))
    pictures = _images(
        numbered, samples, image_px, whole, check=bool(samples.digests)
    )
    return _untuned(pictures.batch(block).prefetch(2))


def _local_rows(order: tf.Tensor, steps: int, shard: Shard) -> tf.Tensor:
    """int64 (steps * local_batch,): this reader's part of an epoch."""
    padding = steps * shard.global_batch - order.shape[0]
    padded = tf.pad(order, ((0, padding),), constant_values=_PADDING)
    by_pipeline = tf.reshape(
        padded, (steps, shard.num_pipelines, shard.local_batch)
    )
    return tf.reshape(by_pipeline[:, shard.pipeline], (-1,))


def _images(
    rows: tf.data.Dataset,
    samples: Samples,
    image_px: int,
    finish: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Any],
    *,
    check: bool = False,
) -> tf.data.Dataset:
    """Pairs of row number and epoch -> what `finish` makes of each image.

    `finish` takes row, epoch, the image, float32 (image_px, image_px, 3),
    zeros for padding; and whether it has the sample's digest, which is looked
    at where `check` is set.
    """
    # As bytes: a file's name need not be text.
    paths = tf.constant([os.fsencode(path) for path in samples.paths])
    key = samples.record_image_key

    def has_digest(encoded: bytes, row: int) -> np.bool_:
        return np.bool_(image_digest(encoded) == samples.digests[row])

    def decoded(
        row: tf.Tensor, encoded: Callable[[], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def nothing() -> tf.Tensor:
            return tf.zeros((image_px, image_px, 3))

        def checked() -> tuple[tf.Tensor, tf.Tensor]:
            data = encoded()
            same = tf.constant(True)
            if check:
                same = tf.ensure_shape(
                    tf.numpy_function(
                        has_digest, [data, row], tf.bool, stateful=False
                    ),
                    (),
                )
            # One that has changed may be half written: it is not decoded.
            image = tf.cond(
                same, lambda: resize(decode_image(data), image_px), nothing
            )
            return image, same

        return tf.cond(
            row != _PADDING, checked, lambda: (nothing(), tf.constant(True))
        )

    if key is None:

        def of_file(row: tf.Tensor, epoch: tf.Tensor) -> Any:
            found = decoded(row, lambda: tf.io.read_file(paths[row]))
            return finish(row, epoch, *found)

        return _map(rows, of_file)

    def of_record(row: tf.Tensor, epoch: tf.Tensor, read: tf.Tensor) -> Any:
        found = decoded(row, lambda: image_of_record(read, key))
        return finish(row, epoch, *found)

    if samples.record_format == ARRAY_RECORD:
        return _map(_array_records(rows, samples), of_record)

    offsets = tf.constant(samples.offsets, tf.int64)
    lengths = tf.constant(samples.lengths, tf.int64)

    def record(row: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        # Padding reads the first sample's, which nothing decodes.
        at = tf.maximum(row, 0)
        payload = read_record(paths[at], offsets[at], lengths[at])
        return payload.map(lambda read: (row, epoch, read))

    records = rows.interleave(
        record,
        cycle_length=_OPEN_RECORDS,
        num_parallel_calls=_OPEN_RECORDS,
        deterministic=True,
    )
    return _map(records.prefetch(_OPEN_RECORDS), of_record)


def _array_records(rows: tf.data.Dataset, samples: Samples) -> tf.data.Dataset:
    """Pairs of row number and epoch -> row number, epoch and record.

    Their reader is a Python library's, which is called for a block of them;
    padding gets an empty record. Iterating raises tf.errors.OpError where one
    cannot be read.
    """

    def payloads(wanted: np.ndarray) -> np.ndarray:
        real = wanted[wanted != _PADDING]
        found = np.full(len(wanted), b"", object)
        found[wanted != _PADDING] = read_records(
            [samples.paths[row] for row in real], samples.offsets[real]
        )
        return found

    def block(row: tf.Tensor, epoch: tf.Tensor) -> Any:
        read = tf.numpy_function(payloads, [row], tf.string, stateful=False)
        return row, epoch, tf.ensure_shape(read, (None,))

    blocks = _map(rows.batch(_OPEN_RECORDS), block)
    return blocks.prefetch(1).unbatch()


def _matrices(samples: Samples, seed: int) -> Load:
    """(Row numbers, epochs), int64 (b,) -> float32 (b, 2, 2)."""
    hashes = tf.constant(samples.id_hashes(), tf.int64)

    def draw(row: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        matrix = affine(
            draw_parameters(seed, epoch, hashes[tf.maximum(row, 0)])
        )
        return tf.where(row != _PADDING, matrix, tf.eye(2))

    return draw


def _batches(
    rows: tf.data.Dataset,
    samples: Samples,
    reading: Reading,
    shard: Shard,
    matrix: Load | None,
) -> tf.data.Dataset:
    """Pairs of row number and epoch -> the elements of a step."""
    batch = shard.replica_batch
    labels = tf.constant(samples.labels.astype(np.int32))

    def known(row: tf.Tensor, epoch: tf.Tensor) -> Element:
        """What needs no image."""
        real = row != _PADDING
        element = {
            "labels": tf.where(real, labels[tf.maximum(row, 0)], 0),
            "mask": tf.cast(real, tf.float32),
        }
        if matrix is not None:
            element["matrices"] = matrix(row, epoch)
        return element

    side = reading.image_px
    if reading.features is None and reading.images is None:

        def load(
            row: tf.Tensor,
            epoch: tf.Tensor,
            picture: tf.Tensor,
            _same: tf.Tensor,
        ) -> Element:
            return {**known(row, epoch), "images": picture}

        dataset = _images(rows, samples, side, load).batch(
            batch, drop_remainder=True
        )
    else:
        cached = reading.features or reading.images
        assert cached is not None
        name = "features" if reading.features else "images"

        def numbered(row: tf.Tensor, epoch: tf.Tensor) -> Element:
            return {**known(row, epoch), "rows": row}

        def look_up(element: Element) -> Element:
            found = _from_numpy(
                cached.read,
                element.pop("rows"),
                [spec.shape for spec in cached.specs],
                [spec.dtype for spec in cached.specs],
                batch,
            )
            parts = tuple(tf.cast(part, tf.float32) for part in found)
            return {**element, name: parts if reading.features else parts[0]}

        dataset = _map(
            _map(rows, numbered).batch(batch, drop_remainder=True), look_up
        )
    if reading.trunk is not None and reading.features is None:
        dataset = _map(dataset, _through_trunk(reading, batch))
    return _untuned(dataset.prefetch(_PREFETCH_STEPS * shard.local_replicas))


def _through_trunk(reading: Reading, batch: int) -> Load:
    """Images of an element -> their features, augmented before."""
    assert reading.trunk is not None

    def run(element: Element) -> Element:
        images = element.pop("images")
        if "matrices" in element:
            images = warp(
                images, element.pop("matrices"), kernel=reading.kernel
            )
        shapes = list(reading.feature_shapes)
        features = _from_numpy(
            reading.trunk, images, shapes, ["float32"] * len(shapes), batch
        )
        return {**element, "features": features}

    return run


def _from_numpy(
    function: Any,
    argument: tf.Tensor,
    shapes: list[tuple[int, ...]],
    dtypes: list[str],
    batch: int,
) -> tuple[tf.Tensor, ...]:
    """What a function of NumPy arrays gives, in a graph."""
    found = tf.numpy_function(
        function, [argument], [tf.as_dtype(d) for d in dtypes], stateful=False
    )
    return tuple(
        tf.ensure_shape(tensor, (batch, *shape))
        for tensor, shape in zip(found, shapes, strict=True)
    )


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without AUTOTUNE, to which nothing is left.

    An iterator that it tunes takes up to two seconds to end, in TensorFlow
    2.21, idly; a short run has a dozen of them.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _map(dataset: tf.data.Dataset, function: Load) -> tf.data.Dataset:
    return dataset.map(
        function, num_parallel_calls=PARALLEL_CALLS, deterministic=True
    )
