"""Reads and decodes the images of samples, in `tf.data`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows
from trainer.data.array_records import read_records
from trainer.data.decode import image_of_record, read_record
from trainer.data.order import PADDING
from trainer.data.rendering import PLAIN, Rendering, traced_render
from trainer.data.samples import ARRAY_RECORD, Samples, image_digest

# Records that are read at the same time, or wait to be decoded.
_OPEN_RECORDS = 16

# Elements that a map processes in parallel: one per core that this process may
# use, which is also AUTOTUNE's bound.
PARALLEL_CALLS = (
    len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count() or 1
)

# (row, epoch, image, whether its digest is the sample's) -> an element.
Finish = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The way from a list of samples to the input of a step.

    Attributes:
      image_px: side of the images.
      rendering: how images are decoded and resized.
      images: cached images, uint8; None decodes the images.
      trunk: maps float32 (n, px, px, 3) in 0..255 to features, (n, *shape)
        each; None leaves the images to the step.
      feature_shapes: shapes of the trunk's features, of one sample.
      features: cached features, which need neither images nor trunk.
      views: number of views of each sample in `features`, one view after the
        other; epoch e reads view e modulo this number.
      kernel: how `augment.warp` samples the images before the trunk.
    """

    image_px: int
    rendering: Rendering = PLAIN
    images: CachedRows | None = None
    trunk: Callable[[np.ndarray], list[np.ndarray]] | None = None
    feature_shapes: tuple[tuple[int, ...], ...] = ()
    features: CachedRows | None = None
    views: int = 1
    kernel: str = "projective"


def image_key_fields(image_px: int, rendering: Rendering) -> dict[str, Any]:
    """Returns the fields of the cache key of decoded images.

    Args:
      image_px: side of the images.
      rendering: how images are decoded and resized.
    """
    return {
        "kind": "pictures",
        "image_px": image_px,
        "tensorflow": tf.__version__,
        **rendering.key_fields(),
    }


def checked_blocks(
    samples: Samples,
    rows: np.ndarray,
    *,
    image_px: int,
    block: int,
    rendering: Rendering = PLAIN,
) -> tf.data.Dataset:
    """Returns the images of some samples in blocks, and which are unchanged.

    The digest of the bytes that are decoded is compared with the sample's.
    A file may have changed since the check of the images, and rows that are
    cached under the old digest would stay wrong for good.

    Args:
      samples: the samples of a split.
      rows: int64 (n,), row numbers of samples, in the order wanted.
      image_px: side of the images.
      block: images per block; the last block may have fewer.
      rendering: how images are decoded and resized.

    Returns:
      A dataset of pairs: uint8 (block, image_px, image_px, 3), zeros where an
      image has changed; and bool (block,), False where it has. Samples without
      digests count as unchanged.
    """

    def finish(
        _row: tf.Tensor, _epoch: tf.Tensor, image: tf.Tensor, same: tf.Tensor
    ) -> Any:
        return tf.cast(image, tf.uint8), same

    numbered = tf.data.Dataset.from_tensor_slices((rows, np.zeros_like(rows)))
    images = decoded_images(
        numbered,
        samples,
        image_px,
        finish,
        check=bool(samples.digests),
        rendering=rendering,
    )
    return without_autotune(images.batch(block).prefetch(2))


def decoded_images(
    rows: tf.data.Dataset,
    samples: Samples,
    image_px: int,
    finish: Finish,
    *,
    check: bool = False,
    rendering: Rendering = PLAIN,
) -> tf.data.Dataset:
    """Reads and decodes the images of rows.

    Args:
      rows: pairs of row number and epoch, int64 scalars.
      samples: the samples that the row numbers refer to.
      image_px: side of the images.
      finish: makes an element of row, epoch, image and whether the image has
        the sample's digest. The image is float32 (image_px, image_px, 3);
        zeros for padding and where the digest differs.
      check: whether to compare digests; if not, all count as equal.
      rendering: how images are decoded and resized.

    Returns:
      A dataset of the elements that `finish` returns, in the order of `rows`.
    """
    # As bytes: the name of a file need not be text.
    paths = tf.constant([os.fsencode(path) for path in samples.paths])
    decode = _decoder(samples, image_px, rendering, check=check)
    key = samples.record_image_key
    if key is None:

        def of_file(row: tf.Tensor, epoch: tf.Tensor) -> Any:
            decoded = decode(row, lambda: tf.io.read_file(paths[row]))
            return finish(row, epoch, *decoded)

        return parallel_map(rows, of_file)

    def of_record(row: tf.Tensor, epoch: tf.Tensor, record: tf.Tensor) -> Any:
        decoded = decode(
            row,
            lambda: image_of_record(record, key, samples.record_image_shape),
        )
        return finish(row, epoch, *decoded)

    if samples.record_format == ARRAY_RECORD:
        records = _array_records(rows, samples)
    else:
        records = _tfrecords(rows, samples, paths)
    return parallel_map(records, of_record)


def _decoder(
    samples: Samples, image_px: int, rendering: Rendering, *, check: bool
) -> Callable[
    [tf.Tensor, Callable[[], tf.Tensor]], tuple[tf.Tensor, tf.Tensor]
]:
    """Returns a function of row and encoded image, for a graph.

    It returns the image, float32 (image_px, image_px, 3), and whether it has
    the sample's digest. The encoded image is read only for real rows.
    """
    render = traced_render(image_px, rendering)

    def has_digest(encoded: bytes, row: int) -> np.bool_:
        return np.bool_(image_digest(encoded) == samples.digests[row])

    def zeros() -> tf.Tensor:
        return tf.zeros((image_px, image_px, 3))

    def decode(
        row: tf.Tensor, read_encoded: Callable[[], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def real() -> tuple[tf.Tensor, tf.Tensor]:
            encoded = read_encoded()
            same = tf.constant(True)
            if check:
                same = tf.ensure_shape(
                    tf.numpy_function(
                        has_digest, [encoded, row], tf.bool, stateful=False
                    ),
                    (),
                )
            # A changed file may be half written, so it is not decoded.
            image = tf.cond(same, lambda: render(encoded), zeros)
            return image, same

        return tf.cond(
            row != PADDING, real, lambda: (zeros(), tf.constant(True))
        )

    return decode


def _tfrecords(
    rows: tf.data.Dataset, samples: Samples, paths: tf.Tensor
) -> tf.data.Dataset:
    """Maps pairs of row number and epoch to row number, epoch and record."""
    offsets = tf.constant(samples.offsets, tf.int64)
    lengths = tf.constant(samples.lengths, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def read(row: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        # Padding reads the first sample's record, which is not decoded.
        at = tf.maximum(row, 0)
        payload = read_record(paths[at], offsets[at], lengths[at])
        return payload.map(
            tf.autograph.experimental.do_not_convert(
                lambda record: (row, epoch, record)
            )
        )

    records = rows.interleave(
        read,
        cycle_length=_OPEN_RECORDS,
        num_parallel_calls=_OPEN_RECORDS,
        deterministic=True,
    )
    return records.prefetch(_OPEN_RECORDS)


def _array_records(rows: tf.data.Dataset, samples: Samples) -> tf.data.Dataset:
    """Maps pairs of row number and epoch to row number, epoch and record.

    The reader is a Python library, which is called once per block of records.
    Padding gets an empty record. Iterating raises tf.errors.OpError if a
    record cannot be read.
    """

    def payloads(wanted: np.ndarray) -> np.ndarray:
        real = wanted[wanted != PADDING]
        found = np.full(len(wanted), b"", object)
        found[wanted != PADDING] = read_records(
            [samples.paths[row] for row in real], samples.offsets[real]
        )
        return found

    def read_block(row: tf.Tensor, epoch: tf.Tensor) -> Any:
        read = tf.numpy_function(payloads, [row], tf.string, stateful=False)
        return row, epoch, tf.ensure_shape(read, (None,))

    blocks = parallel_map(rows.batch(_OPEN_RECORDS), read_block)
    return blocks.prefetch(1).unbatch()


def parallel_map(
    dataset: tf.data.Dataset, function: Callable[..., Any]
) -> tf.data.Dataset:
    """Maps a dataset on all cores, in the order of its elements.

    The function is a graph function as it stands: converting it by AutoGraph
    would take half of the time that tracing takes.
    """
    return dataset.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=PARALLEL_CALLS,
        deterministic=True,
    )


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns AUTOTUNE off; every degree of parallelism here is fixed.

    In TensorFlow 2.21 an iterator with AUTOTUNE takes up to two seconds to
    end, idly, and a short run has a dozen iterators.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
