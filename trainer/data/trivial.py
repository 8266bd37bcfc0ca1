"""TrivialAugment: one operation for each image, of random strength.

From Mueller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
Augmentation" (2021), with the wide ranges. Unlike Keras's RandAugment it draws
for each image, not once for a batch. Two things differ from the paper: shifts
are a fraction of the side (32 of 224 pixels), and beyond its edges an image is
mirrored, not black.
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.data.augment import rounded
from trainer.data.colours import OPERATIONS

_SHEAR = 0.99
_SHIFT = 1 / 7
_ANGLE = math.radians(135)
_FACTOR = 0.99
_GEOMETRIC = ("shear_x", "shear_y", "shift_x", "shift_y", "rotate")
# The colour operations, of which the first is the identity.
_KINDS = len(_GEOMETRIC) + len(OPERATIONS)


def draw_trivial(
    seed: int, epoch: tf.Tensor, id_hash: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws the augmentation of one sample in one epoch; a pure function.

    Args:
      seed: in [-2**63, 2**63).
      epoch: int64 scalar.
      id_hash: int64 scalar, 64 bits of the sample id.

    Returns:
      A matrix for `augment.warp`, float32 (2, 3), that flips one image in two;
      an index into `colours.OPERATIONS`, int32; and its strength, float32.
    """
    pair = tf.stack([tf.constant(seed, tf.int64), epoch])
    key = tf.random.fold_in(pair, id_hash, alg="philox")
    flip, kind, size, sign = tf.unstack(
        tf.random.stateless_uniform((4,), key, alg="philox")
    )
    flip = tf.where(flip < 0.5, -1.0, 1.0)
    signed = size * tf.where(sign < 0.5, -1.0, 1.0)
    index = tf.minimum(tf.cast(kind * _KINDS, tf.int32), _KINDS - 1)
    operation = tf.maximum(index - len(_GEOMETRIC), 0)
    return (
        rounded(_matrix(flip, index, signed)),
        operation,
        _strength(operation, size, signed),
    )


def _matrix(flip: tf.Tensor, index: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Returns the matrix of a geometric operation; others only flip."""

    def of(name: str, value: float) -> tf.Tensor:
        chosen = index == _GEOMETRIC.index(name)
        return tf.where(chosen, value * signed, 0.0)

    angle = of("rotate", _ANGLE)
    cos, sin = tf.cos(angle), tf.sin(angle)
    first = [cos, of("shear_x", _SHEAR) - sin, of("shift_x", _SHIFT)]
    second = [sin + of("shear_y", _SHEAR), cos, of("shift_y", _SHIFT)]
    return tf.stack([flip * tf.stack(first), tf.stack(second)])


def _strength(
    operation: tf.Tensor, size: tf.Tensor, signed: tf.Tensor
) -> tf.Tensor:
    """Returns the strength in the operation's own unit.

    Args:
      operation: int32, an index into `colours.OPERATIONS`.
      size: float32 in [0, 1).
      signed: float32, `size` with a random sign.
    """
    names = [function.__name__ for function in OPERATIONS]
    by_name = {
        "posterize": 8.0 - 6.0 * size,
        "solarize": 256.0 * (1.0 - size),
    }
    strengths = [by_name.get(name, 1.0 + _FACTOR * signed) for name in names]
    return tf.gather(tf.stack(strengths), operation)
