"""The batches that the steps of training and evaluation read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows
from trainer.config.fields import TRIVIAL, TUTORIAL
from trainer.data.augment import (
    POLICIES,
    affine,
    draw_parameters,
    warp,
)
from trainer.data.colours import recolour
from trainer.data.order import PADDING, Shard, training_rows
from trainer.data.reading import (
    Reading,
    decoded_images,
    parallel_map,
    without_autotune,
)
from trainer.data.regularization import NOTHING, Regularization
from trainer.data.samples import Samples
from trainer.data.trivial import draw_trivial

# Global steps that are read ahead: about 20 MB per batch of 32 at 224 px.
_PREFETCH_STEPS = 2

Element = dict[str, Any]
# Maps a row number and an epoch to the drawn values, by name.
_Draw = Callable[[tf.Tensor, tf.Tensor], Element]


def training_batches(
    samples: Samples,
    *,
    reading: Reading,
    shard: Shard,
    seed: int,
    start_step: int,
    total_steps: int,
    augment: bool,
    policy: str = TUTORIAL,
    regularization: Regularization = NOTHING,
) -> tf.data.Dataset:
    """Returns the batches of a stage, epoch after epoch without a pause.

    Args:
      samples: the samples of an epoch; at least one.
      reading: how the samples are read.
      shard: the part of each global batch to yield.
      seed: decides order and augmentation.
      start_step: steps of this stage to skip. Nothing is read for them, and
        the steps after them are the same as without skipping.
      total_steps: the step at which the stage ends, counted from its first.
      augment: whether to draw matrices; not with cached features.
      policy: a value of --augment other than off.
      regularization: further changes; of images only if none are cached.

    Returns:
      A dataset of (total_steps - start_step) * shard.local_replicas elements:
      for each step one per replica, in order. With b = shard.replica_batch an
      element has `labels` int32 (b,), or float32 (b, classes) of 0 and 1 if a
      sample may have several; `mask` float32 (b,), 1, or 0 where the last batch
      of an epoch is padded; and either `features`, a tuple of float32 (b,
      *shape), or `images` float32 (b, image_px, image_px, 3) in 0..255 (zeros
      where padded), not yet augmented. If `augment`, images come
      with `matrices` for `augment.warp`. If the regularization changes images,
      they are already warped, so there are no matrices. Mixed images come with
      `labels2` and `lambdas`; see `mixing.mixed`. With dropout, an element also
      has `dropout` float32 (b, channels). If the samples have weights, it has
      `importance` float32 (b,).

    Raises:
      ValueError: start_step is not in 0 ... total_steps.
      tf.errors.OpError: while iterating, if a file cannot be decoded.
    """
    if not 0 <= start_step <= total_steps:
        raise ValueError(f"{start_step=}: not in 0 ... {total_steps}")
    rows = training_rows(
        len(samples),
        shard,
        seed,
        start_step=start_step,
        total_steps=total_steps,
        partners=regularization.mixes,
    )
    draws = [augmentation_draws(samples, seed, policy)] if augment else []
    if samples.weights is not None:
        draws.append(_importance(samples.weights))
    if regularization != NOTHING:
        draws.append(regularization.draws(samples, seed, reading.image_px))
    return _batches(rows, samples, reading, shard, draws, regularization)


def evaluation_batches(
    samples: Samples,
    *,
    reading: Reading,
    shard: Shard,
    mirrored: Reading | None = None,
) -> tf.data.Dataset:
    """Returns one pass over the samples, in their order.

    Args:
      samples: each is yielded once.
      reading: how the samples are read.
      shard: the part of each global batch to yield.
      mirrored: how to read the features of the mirror images; None if they are
        not needed.

    Returns:
      A dataset of steps * shard.local_replicas elements, as
      `training_batches` yields them, without matrices. In the last global
      batch an element may be all padding. With `mirrored`, an element also has
      `mirrored`, a tuple with the features of the mirror images.

    Raises:
      tf.errors.OpError: while iterating, if a file cannot be decoded.
    """
    rows = shard.rows(tf.range(len(samples), dtype=tf.int64))
    # The epoch only matters to augmentation, which evaluation does not use.
    epochs = tf.zeros_like(rows)
    dataset = tf.data.Dataset.from_tensor_slices((rows, epochs))
    batches = _batches(dataset, samples, reading, shard, [], NOTHING)
    if mirrored is None:
        return batches
    others = _batches(dataset, samples, mirrored, shard, [], NOTHING)
    pairs = tf.data.Dataset.zip((batches, others))
    return without_autotune(
        parallel_map(
            pairs, lambda one, two: {**one, "mirrored": two["features"]}
        )
    )


def _batches(
    rows: tf.data.Dataset,
    samples: Samples,
    reading: Reading,
    shard: Shard,
    draws: Sequence[_Draw],
    regularization: Regularization,
) -> tf.data.Dataset:
    """Maps pairs of row number and epoch to the elements of the steps."""
    batch = shard.replica_batch + (1 if regularization.mixes else 0)
    without_images = _without_images(samples, draws)
    cached = reading.features or reading.images
    if cached is None:

        def with_image(
            row: tf.Tensor, epoch: tf.Tensor, image: tf.Tensor, _same: tf.Tensor
        ) -> Element:
            return {**without_images(row, epoch), "images": image}

        dataset = decoded_images(
            rows,
            samples,
            reading.image_px,
            with_image,
            rendering=reading.rendering,
        ).batch(batch, drop_remainder=True)
    else:

        def with_row(row: tf.Tensor, epoch: tf.Tensor) -> Element:
            element = without_images(row, epoch)
            if reading.views > 1:
                # The rows of a view are behind those of the view before.
                first = epoch % reading.views * len(samples)
                row = tf.where(row != PADDING, row + first, row)
            return {**element, "rows": row}

        name = "features" if reading.features else "images"
        dataset = parallel_map(
            parallel_map(rows, with_row).batch(batch, drop_remainder=True),
            _look_up(cached, name, batch),
        )
    if "operations" in dataset.element_spec:
        dataset = parallel_map(dataset, _recoloured)
    if regularization.changes_images:
        dataset = parallel_map(
            dataset, lambda x: regularization.change(x, reading.kernel)
        )
    if reading.trunk is not None and reading.features is None:
        through_trunk = _through_trunk(reading, shard.replica_batch)
        dataset = parallel_map(dataset, through_trunk)
    return without_autotune(
        dataset.prefetch(_PREFETCH_STEPS * shard.local_replicas)
    )


def _without_images(
    samples: Samples, draws: Sequence[_Draw]
) -> Callable[[tf.Tensor, tf.Tensor], Element]:
    """Returns a function from row and epoch to label, mask and drawn values."""
    several = samples.multilabel
    # One byte per class; the steps get floats.
    stored = np.bool_ if several else np.int32
    labels = tf.constant(samples.labels.astype(stored))

    def element(row: tf.Tensor, epoch: tf.Tensor) -> Element:
        real = row != PADDING
        own = labels[tf.maximum(row, 0)]
        if several:
            own = tf.cast(own, tf.float32)
        found = {
            "labels": tf.where(real, own, tf.zeros_like(own)),
            "mask": tf.cast(real, tf.float32),
        }
        for draw in draws:
            found |= draw(row, epoch)
        return found

    return element


def _importance(weights: np.ndarray) -> _Draw:
    """Returns a function of row and epoch, int64: the weight of the sample."""
    values = tf.constant(weights.astype(np.float32))

    def draw(row: tf.Tensor, epoch: tf.Tensor) -> Element:
        del epoch
        found = values[tf.maximum(row, 0)]
        return {"importance": tf.where(row != PADDING, found, 0.0)}

    return draw


def augmentation_draws(samples: Samples, seed: int, policy: str) -> _Draw:
    """Returns a function of row and epoch, int64: the augmentation.

    It has `matrices` for `warp`; with the policy trivial also `operations` and
    `strengths` for `recolour`. A padding row is not changed.

    Args:
      samples: the samples that the row numbers refer to.
      seed: of the run.
      policy: a value of --augment other than off.
    """
    hashes = tf.constant(samples.id_hashes(), tf.int64)

    def draw(row: tf.Tensor, epoch: tf.Tensor) -> Element:
        id_hash = hashes[tf.maximum(row, 0)]
        real = row != PADDING
        if policy == TRIVIAL:
            matrix, operation, strength = draw_trivial(seed, epoch, id_hash)
            found = {
                "operations": tf.where(real, operation, 0),
                "strengths": strength,
            }
        else:
            drawn = draw_parameters(seed, epoch, id_hash, POLICIES[policy])
            matrix, found = affine(drawn), {}
        matrix = tf.where(real, matrix, tf.eye(*matrix.shape))
        return {**found, "matrices": matrix}

    return draw


def _recoloured(element: Element) -> Element:
    """Returns an element whose images have been through `recolour`."""
    images = recolour(
        element["images"], element.pop("operations"), element.pop("strengths")
    )
    return {**element, "images": images}


def _look_up(
    cached: CachedRows, name: str, batch: int
) -> Callable[[Element], Element]:
    """Returns a function that replaces an element's `rows` by cached rows.

    Args:
      cached: the rows.
      name: `features`, a tuple of tensors, or `images`, one tensor.
      batch: examples per element.
    """

    def look_up(element: Element) -> Element:
        found = _from_numpy(
            cached.read,
            element.pop("rows"),
            [spec.shape for spec in cached.specs],
            [spec.dtype for spec in cached.specs],
            batch,
        )
        tensors = tuple(tf.cast(tensor, tf.float32) for tensor in found)
        return {**element, name: tensors if name == "features" else tensors[0]}

    return look_up


def _through_trunk(
    reading: Reading, batch: int
) -> Callable[[Element], Element]:
    """Returns a function that replaces an element's images by features.

    The images are augmented before if the element has matrices.
    """
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
    """Calls a function of NumPy arrays in a graph.

    Returns:
      Tensors of the dtypes, (batch, *shape) each.
    """
    found = tf.numpy_function(
        function, [argument], [tf.as_dtype(d) for d in dtypes], stateful=False
    )
    return tuple(
        tf.ensure_shape(tensor, (batch, *shape))
        for tensor, shape in zip(found, shapes, strict=True)
    )
