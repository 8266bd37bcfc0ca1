"""Batches of drawn pictures: order, crop, flip, colour jitter, warp."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tools.pretrain.pool import Pool
from trainer.data.augment import affine

_PREFETCH = 4
_ORDER, _AUGMENT = 1, 2
# A part of the pictures is not warped: warping blurs.
_WARPED = 0.5


def training_rows(
    pool: Pool, *, batch_size: int, seed: int, step: int
) -> np.ndarray:
    """The rows of one step: a pure function of its arguments.

    An epoch is a permutation; what is left of it after its last whole batch
    is not shown in that epoch.
    """
    steps = pool.training // batch_size
    epoch, position = divmod(step, steps)
    order = np.random.default_rng([seed, _ORDER, epoch]).permutation(
        pool.training
    )
    return order[position * batch_size : (position + 1) * batch_size]


def training_batch(
    pool: Pool, *, batch_size: int, image_px: int, seed: int, step: int
) -> dict[str, np.ndarray]:
    """One step's pictures, cropped and turned, and how to change them.

    Returns:
      `pixels` uint8 (b, image_px, image_px, 3); `labels` int32 (b,); `gain`
      and `shift` float32 (b, 1, 1, 3), of the pixels; `warp` float32 (b, 5),
      parameters for `augment.affine`.
    """
    rows = training_rows(pool, batch_size=batch_size, seed=seed, step=step)
    rng = np.random.default_rng([seed, _AUGMENT, step])
    n, room = len(rows), pool.pictures.shape[1] - image_px
    corners = rng.integers(0, room + 1, (n, 2))
    flips = rng.integers(0, 2, (n, 3))
    pixels = np.empty((n, image_px, image_px, 3), np.uint8)
    for i, (row, (top, left), (up, side, across)) in enumerate(
        zip(rows, corners, flips, strict=True)
    ):
        picture = pool.pictures[row][
            top : top + image_px, left : left + image_px
        ]
        picture = picture[:: 1 - 2 * up, :: 1 - 2 * side]
        pixels[i] = picture.transpose(1, 0, 2) if across else picture
    contrast = rng.uniform(0.7, 1.3, (n, 1, 1, 1))
    gain = contrast * rng.uniform(0.85, 1.15, (n, 1, 1, 3))
    warp = np.ones((n, 5))
    warp[:, 1] = rng.uniform(-math.pi / 4, math.pi / 4, n)
    warp[:, 2:] = rng.uniform(0.85, 1.15, (n, 3))
    warp[rng.random(n) > _WARPED] = (1, 0, 1, 1, 1)
    return {
        "pixels": pixels,
        "labels": pool.labels[rows],
        "gain": gain.astype(np.float32),
        "shift": rng.uniform(-20, 20, (n, 1, 1, 1)).astype(np.float32),
        "warp": warp.astype(np.float32),
    }


def training_batches(
    pool: Pool,
    *,
    batch_size: int,
    image_px: int,
    seed: int,
    start_step: int,
    total_steps: int,
) -> tf.data.Dataset:
    """The batches of steps start_step ... total_steps - 1, for the step.

    Elements are as `trainer.data.pipeline.training_batches` yields them.
    """

    def steps() -> Iterator[dict[str, np.ndarray]]:
        for step in range(start_step, total_steps):
            yield training_batch(
                pool,
                batch_size=batch_size,
                image_px=image_px,
                seed=seed,
                step=step,
            )

    shapes = {
        "pixels": ((batch_size, image_px, image_px, 3), tf.uint8),
        "labels": ((batch_size,), tf.int32),
        "gain": ((batch_size, 1, 1, 3), tf.float32),
        "shift": ((batch_size, 1, 1, 1), tf.float32),
        "warp": ((batch_size, 5), tf.float32),
    }

    def changed(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        images = tf.cast(batch["pixels"], tf.float32)
        images = images * batch["gain"] + batch["shift"]
        return {
            "images": tf.clip_by_value(images, 0.0, 255.0),
            "labels": batch["labels"],
            "mask": tf.ones([batch_size]),
            "matrices": affine(batch["warp"]),
        }

    return (
        tf.data.Dataset.from_generator(
            steps,
            output_signature={
                name: tf.TensorSpec(shape, dtype)
                for name, (shape, dtype) in shapes.items()
            },
        )
        .map(changed)
        .prefetch(_PREFETCH)
    )


def held_out_batches(
    pool: Pool, *, batch_size: int, image_px: int
) -> tf.data.Dataset:
    """The middles of the held-out pictures, the last batch padded."""
    first = (pool.pictures.shape[1] - image_px) // 2
    middle = slice(first, first + image_px)

    def parts() -> Iterator[dict[str, np.ndarray]]:
        for start in range(pool.training, len(pool.pictures), batch_size):
            some = slice(start, start + batch_size)
            images = pool.pictures[some, middle, middle]
            padding = batch_size - len(images)
            yield {
                "images": np.pad(
                    images.astype(np.float32),
                    ((0, padding), (0, 0), (0, 0), (0, 0)),
                ),
                "labels": np.pad(pool.labels[some], (0, padding)),
                "mask": np.pad(np.ones(len(images), np.float32), (0, padding)),
            }

    return tf.data.Dataset.from_generator(
        parts,
        output_signature={
            "images": tf.TensorSpec(
                (batch_size, image_px, image_px, 3), tf.float32
            ),
            "labels": tf.TensorSpec((batch_size,), tf.int32),
            "mask": tf.TensorSpec((batch_size,), tf.float32),
        },
    ).prefetch(1)
