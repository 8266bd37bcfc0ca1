"""Augmentation: flip, rotation, zoom, height and width as one affine warp.

With target positions (x to the right, y down, in pixels), the centre
c = ((W - 1) / 2, (H - 1) / 2) and R(t) = [[cos t, -sin t], [sin t, cos t]]:

    source - c = Flip * R(t) * diag(z / w, z / h) * (target - c)

The result at `target` is the image at `source`, interpolated bilinearly.
Beyond its edges the image continues as its own mirror image with the edge
pixels doubled (SciPy's 'reflect', period 2N). Zoom z > 1 shrinks the content,
h and w > 1 stretch it, and t > 0 turns it counter-clockwise.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

MAX_ANGLE = 0.4 * math.pi  # 0.2 turns
MAX_STRETCH = 0.2
# Entries of a matrix are multiples of 1 / _GRID. Up to 965 px every term and
# sum of a source position is then exact in float32 (below 1.5 sqrt(2) 965
# < 2**11, in units of 2**-13: 24 bits), so all kernels, compilers and devices
# agree to the bit. Without the grid two kernels differ by up to 0.013 of 255 on
# noise at 224 px. The rounding turns an image by at most 0.02 degrees.
_GRID = 2.0**12
KERNELS = ("projective", "gather")


def policy() -> dict[str, Any]:
    """Returns what the augmentation of a sample depends on, for cache keys.

    Besides seed, epoch, sample and kernel. Values that JSON can represent.
    """
    return {
        "name": "flip rotate zoom stretch",
        "angle": MAX_ANGLE,
        "stretch": MAX_STRETCH,
        "grid": _GRID,
    }


def draw_parameters(
    seed: int, epoch: tf.Tensor, id_hash: tf.Tensor
) -> tf.Tensor:
    """Draws the augmentation of one sample in one epoch; a pure function.

    Args:
      seed: in [-2**63, 2**63).
      epoch: int64 scalar.
      id_hash: int64 scalar, 64 bits of the sample id.

    Returns:
      float32 (5,): flip, -1 (mirrored) or 1, with equal odds; angle in
      radians, uniform in +-0.4 pi; zoom, height, width, each uniform in
      1 +- 0.2.
    """
    # A seed holds 2 x 64 bits and there are three numbers, so two of them are
    # hashed into one; sums or products of them could collide. 'philox' is
    # named because the default algorithm depends on the device.
    pair = tf.stack([tf.constant(seed, tf.int64), epoch])
    uniform = tf.random.stateless_uniform(
        (5,), tf.random.fold_in(pair, id_hash, alg="philox"), alg="philox"
    )
    flip = tf.where(uniform[:1] < 0.5, -1.0, 1.0)
    signed = 2.0 * uniform[1:] - 1.0
    return tf.concat(
        [flip, MAX_ANGLE * signed[:1], 1.0 + MAX_STRETCH * signed[1:]], axis=0
    )


def affine(parameters: tf.Tensor) -> tf.Tensor:
    """Computes Flip * R(t) * diag(z / w, z / h), rounded to 1 / 4096.

    Args:
      parameters: float32 (..., 5), as `draw_parameters` returns them.

    Returns:
      float32 (..., 2, 2), which maps target to source, both relative to the
      centre; rows and columns are in the order x, y.
    """
    flip, angle, zoom, height, width = tf.unstack(parameters, axis=-1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    x, y = zoom / width, zoom / height
    rows = [
        tf.stack([flip * cos * x, -flip * sin * y], axis=-1),
        tf.stack([sin * x, cos * y], axis=-1),
    ]
    return tf.round(tf.stack(rows, axis=-2) * _GRID) / _GRID


def warp(images: tf.Tensor, matrices: tf.Tensor, *, kernel: str) -> tf.Tensor:
    """Warps each image by its own matrix about its centre.

    Args:
      images: float32 (B, H, W, 3), H and W static.
      matrices: float32 (B, 2, 2), as `affine` returns them.
      kernel: 'projective', which is faster on CPU, or 'gather', which XLA can
        compile. For pixels in 0..255 they agree within 0.01.

    Returns:
      float32 (B, H, W, 3). The identity matrix leaves every pixel unchanged.

    Raises:
      ValueError: there is no such kernel.
    """
    if kernel == "projective":
        return _warp_projective(images, matrices)
    if kernel == "gather":
        return _warp_gather(images, matrices)
    raise ValueError(f"kernel={kernel!r}: must be one of {KERNELS}")


def warp_kernel(xla: bool) -> str:
    """Returns the kernel that XLA can compile, or else the faster one."""
    return "gather" if xla else "projective"


def _shift(matrices: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns c - M c, so that source = M * target + shift.

    Returns:
      float32 (B, 2), x and y.
    """
    centre = tf.constant([(width - 1) / 2, (height - 1) / 2], tf.float32)
    # Not a matrix product, whose factors accelerators may round.
    return centre - tf.reduce_sum(matrices * centre, axis=-1)


def _warp_projective(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    shift = _shift(matrices, height, width)
    rows = tf.concat([matrices, shift[:, :, None]], axis=2)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.pad(tf.reshape(rows, (-1, 6)), ((0, 0), (0, 2))),
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def _warp_gather(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    # The summation order of the projective op, so that positions are rounded
    # in the same way if `affine` did not round the matrices.
    x = tf.range(width, dtype=tf.float32)[None, :]
    y = tf.range(height, dtype=tf.float32)[:, None]
    m = matrices[:, :, :, None, None]
    s = _shift(matrices, height, width)[:, :, None, None]
    source_x = m[:, 0, 0] * x + m[:, 0, 1] * y + s[:, 0]
    source_y = m[:, 1, 0] * x + m[:, 1, 1] * y + s[:, 1]
    left, right, dx = _neighbours(source_x, width)
    above, below, dy = _neighbours(source_y, height)
    pixels = tf.reshape(images, (-1, height * width, images.shape[3]))

    def line(row: tf.Tensor) -> tf.Tensor:
        # One gather reads all channels of a pixel.
        first = tf.gather(pixels, row * width + left, batch_dims=1)
        second = tf.gather(pixels, row * width + right, batch_dims=1)
        return first * (1.0 - dx) + second * dx

    return line(above) * (1.0 - dy) + line(below) * dy


def _neighbours(
    position: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the two pixels around a position, along one axis.

    Args:
      position: float32 (B, H, W), relative to the centre of the first pixel;
        may be any distance outside the image.
      size: number of pixels along the axis.

    Returns:
      int32 (B, H, W), int32 (B, H, W): indices in [0, size).
      float32 (B, H, W, 1): weight of the second, in [0, 1).
    """
    # The mirrored image has the period 2N, starting at -1/2, the edge of the
    # first pixel. Clipping corrects rounding errors, and equals reflection in
    # the outer half pixels.
    period = 2.0 * size
    folded = position - period * tf.floor((position + 0.5) / period)
    folded = tf.minimum(folded, period - 1.0 - folded)
    index = tf.clip_by_value(folded, 0.0, size - 1.0)
    first = tf.floor(index)
    second = tf.minimum(first + 1.0, size - 1.0)
    weight = (index - first)[..., None]
    return tf.cast(first, tf.int32), tf.cast(second, tf.int32), weight
