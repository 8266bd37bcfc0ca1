"""Augmentation: flip, rotation, zoom, height and width as one affine warp.

With target positions (x to the right, y down, in pixels), the centre
c = ((W - 1) / 2, (H - 1) / 2) and R(t) = [[cos t, -sin t], [sin t, cos t]]:

    source - c = Flip * R(t) * diag(z / w, z / h) * (target - c) + shift

The result at `target` is the image at `source`, interpolated bilinearly.
Beyond its edges the image continues as its own mirror image with the edge
pixels doubled (SciPy's 'reflect', period 2N). Zoom z > 1 shrinks the content,
h and w > 1 stretch it, and t > 0 turns it counter-clockwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from trainer.config.fields import MILD, TUTORIAL


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """The ranges from which the augmentation of an image is drawn.

    Attributes:
      angle: the largest rotation, radians.
      zoom: the largest change of zoom; 0.2 is a zoom from 0.8 to 1.2.
      stretch: the largest change of height and of width.
      shift: the largest shift along each axis, as a fraction of the side.
    """

    angle: float
    zoom: float
    stretch: float
    shift: float = 0.0


POLICIES = {
    # 0.2 turns; the layers of the Keras guide.
    TUTORIAL: Policy(angle=0.4 * math.pi, zoom=0.2, stretch=0.2),
    MILD: Policy(angle=math.pi / 12, zoom=0.2, stretch=0.0, shift=0.05),
}
# Entries of a matrix are multiples of 1 / _GRID. Up to 965 px every term and
# sum of a source position is then exact in float32 (below 1.5 sqrt(2) 965
# < 2**11, in units of 2**-13: 24 bits), so all kernels, compilers and devices
# agree to the bit. Without the grid two kernels differ by up to 0.013 of 255 on
# noise at 224 px. The rounding turns an image by at most 0.02 degrees.
_GRID = 2.0**12
KERNELS = ("projective", "gather")


def policy_fields(name: str) -> dict[str, Any]:
    """Returns what the augmentation of a sample depends on, for cache keys.

    Besides seed, epoch, sample and kernel. Values that JSON can represent.

    Args:
      name: a value of --augment other than off.
    """
    ranges = POLICIES.get(name)
    known = dataclasses.asdict(ranges) if ranges else {"version": 1}
    return {"name": name, "grid": _GRID, **known}


def draw_parameters(
    seed: int,
    epoch: tf.Tensor,
    id_hash: tf.Tensor,
    policy: Policy = POLICIES[TUTORIAL],
) -> tf.Tensor:
    """Draws the augmentation of one sample in one epoch; a pure function.

    Args:
      seed: in [-2**63, 2**63).
      epoch: int64 scalar.
      id_hash: int64 scalar, 64 bits of the sample id.
      policy: the ranges.

    Returns:
      float32 (5,): flip, -1 (mirrored) or 1, with equal odds; angle in
      radians; zoom, height and width around 1; each uniform in its range. If
      the policy shifts, (7,): also the shifts in x and y.
    """
    # A seed holds 2 x 64 bits and there are three numbers, so two of them are
    # hashed into one; sums or products of them could collide. 'philox' is
    # named because the default algorithm depends on the device.
    pair = tf.stack([tf.constant(seed, tf.int64), epoch])
    key = tf.random.fold_in(pair, id_hash, alg="philox")
    uniform = tf.random.stateless_uniform((5,), key, alg="philox")
    flip = tf.where(uniform[:1] < 0.5, -1.0, 1.0)
    signed = 2.0 * uniform[1:] - 1.0
    parts = [flip, policy.angle * signed[:1]]
    if policy.zoom == policy.stretch:
        parts.append(1.0 + policy.zoom * signed[1:])
    else:
        parts.append(1.0 + policy.zoom * signed[1:2])
        parts.append(1.0 + policy.stretch * signed[2:])
    if policy.shift:
        # A key of its own, so that the other draws are those of any policy.
        key = tf.random.fold_in(key, 1, alg="philox")
        uniform = tf.random.stateless_uniform((2,), key, alg="philox")
        parts.append(policy.shift * (2.0 * uniform - 1.0))
    return tf.concat(parts, axis=0)


def affine(parameters: tf.Tensor) -> tf.Tensor:
    """Computes Flip * R(t) * diag(z / w, z / h), rounded to 1 / 4096.

    Args:
      parameters: float32 (..., 5) or (..., 7), as `draw_parameters` returns
        them.

    Returns:
      float32 (..., 2, 2), which maps target to source, both relative to the
      centre; rows and columns are in the order x, y. With shifts (..., 2, 3):
      the last column is the shift of the source, as a fraction of the side.
    """
    flip, angle, zoom, height, width, *shifts = tf.unstack(parameters, axis=-1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    x, y = zoom / width, zoom / height
    rows = [
        tf.stack([flip * cos * x, -flip * sin * y, *shifts[:1]], axis=-1),
        tf.stack([sin * x, cos * y, *shifts[1:]], axis=-1),
    ]
    return rounded(tf.stack(rows, axis=-2))


def rounded(matrices: tf.Tensor) -> tf.Tensor:
    """Rounds to multiples of 1 / 4096, at which all kernels agree."""
    return tf.round(matrices * _GRID) / _GRID


def warp(images: tf.Tensor, matrices: tf.Tensor, *, kernel: str) -> tf.Tensor:
    """Warps each image by its own matrix about its centre.

    Args:
      images: float32 (B, H, W, 3), H and W static.
      matrices: float32 (B, 2, 2) or (B, 2, 3), as `affine` returns them.
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
    """Returns c - M c + shift of the source, in pixels.

    So source = M * target + the result.

    Returns:
      float32 (B, 2), x and y.
    """
    centre = tf.constant([(width - 1) / 2, (height - 1) / 2], tf.float32)
    # Not a matrix product, whose factors accelerators may round.
    shift = centre - tf.reduce_sum(matrices[..., :2] * centre, axis=-1)
    if matrices.shape[-1] == 3:
        shift += matrices[..., 2] * tf.constant([width, height], tf.float32)
    return shift


def _warp_projective(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    shift = _shift(matrices, height, width)
    rows = tf.concat([matrices[..., :2], shift[:, :, None]], axis=2)
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
