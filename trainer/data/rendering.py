"""Turns an encoded image into the square of pixels that a backbone takes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.config.backgrounds import Colour, parse_background
from trainer.config.fields import APPLY, CROP, PAD, STRETCH
from trainer.config.recipes import BEFORE_RENDERING
from trainer.data.decode import decode_image, decode_within_limits
from trainer.data.graph_orientation import orientation_in_graph
from trainer.data.headers import UPRIGHT, orientation

_BLACK: Colour = (0, 0, 0)
# Orientations that are displayed mirrored left to right, and top to bottom,
# after rows and columns of those from _TRANSPOSED on were exchanged.
_LEFT_RIGHT, _UP_DOWN, _TRANSPOSED = (2, 3, 6, 7), (3, 4, 7, 8), 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """How a run turns encoded images into squares of pixels.

    Attributes:
      exif: whether the EXIF orientation is applied.
      background: the colour behind transparent pixels; None ignores alpha.
      resize: stretch, crop (the central square) or pad (to a square with the
        background, or black without one).
    """

    exif: bool = False
    background: Colour | None = None
    resize: str = STRETCH

    def key_fields(self) -> dict[str, Any]:
        """Returns the fields of a cache key; {} for the defaults.

        The keys of earlier versions, which had only the defaults, stay valid.
        """
        if self == PLAIN:
            return {}
        # The background is also the border of a padded image.
        return {
            "rendering": [self.exif, list(self.background or ()), self.resize]
        }


PLAIN = Rendering()


def rendering_of(config: Config) -> Rendering:
    """Returns the rendering of a run.

    Args:
      config: resolved, or stored in a workdir. Unset values are those of
        versions without these flags.
    """
    return Rendering(
        exif=config.exif == APPLY,
        background=parse_background(config.background),
        resize=config.resize or STRETCH,
    )


def rendering_fields(config: Config) -> dict[str, str]:
    """Returns the flags of the rendering of a run, for export.json."""
    return {
        name: getattr(config, name) or before
        for name, before in BEFORE_RENDERING.items()
    }


def render(
    encoded: tf.Tensor,
    image_px: int,
    rendering: Rendering = PLAIN,
    *,
    checked: bool = True,
) -> tf.Tensor:
    """Decodes an image, turns it upright, and resizes it to a square.

    Runs eagerly and in graphs. The check of images, training, evaluation,
    prediction and exports call this function, so that all see the same pixels.

    Args:
      encoded: string scalar, a JPEG, PNG, BMP, GIF or WebP.
      image_px: side of the result, in pixels.
      rendering: how to do it.
      checked: whether `formats.what_is_wrong` has accepted the image; if not,
        its declared size is compared with the limits before it is decoded.

    Returns:
      float32 (image_px, image_px, 3), RGB, whole numbers in 0..255.

    Raises:
      tf.errors.InvalidArgumentError: see `decode_within_limits`.
    """
    decode = decode_image if checked else decode_within_limits
    image = decode(encoded, rendering.background)
    if rendering.exif:
        # Eagerly, hundreds of small operations would take longer than decoding.
        stored = (
            tf.constant(orientation(encoded.numpy()))
            if tf.executing_eagerly()
            else orientation_in_graph(encoded)
        )
        image = turn_upright(image, stored)
    return fit(image, image_px, rendering)


@functools.lru_cache(maxsize=16)
def traced_render(
    image_px: int, rendering: Rendering
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `render` of a checked image as a function that is traced once.

    A run builds a dozen data sets. Tracing the same hundred operations for each
    would take 0.1 s per data set.

    Args:
      image_px: side of the result, in pixels.
      rendering: how to render.
    """

    def run(encoded: tf.Tensor) -> tf.Tensor:
        return render(encoded, image_px, rendering)

    return tf.function(
        run,
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Applies an EXIF orientation; only moves pixels.

    Args:
      image: uint8 (h, w, 3), as it is stored.
      orientation: int32 scalar, 1 to 8.

    Returns:
      uint8 (h, w, 3), or (w, h, 3) from orientation 5 on.
    """

    def turned() -> tf.Tensor:
        found = tf.cond(
            orientation >= _TRANSPOSED,
            lambda: _transposed(image),
            lambda: image,
        )
        for axis, numbers in ((1, _LEFT_RIGHT), (0, _UP_DOWN)):
            found = _reversed_if(
                tf.reduce_any(orientation == list(numbers)), found, axis
            )
        return found

    upright = tf.cond(orientation == UPRIGHT, lambda: image, turned)
    return tf.ensure_shape(upright, (None, None, 3))


def _transposed(image: tf.Tensor) -> tf.Tensor:
    """Exchanges rows and columns of an image, uint8 (h, w, 3).

    TensorFlow logs an error where oneDNN cannot transpose integers, also if
    they are floats meanwhile, because it exchanges the cast and the transpose.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    rows = tf.range(height) * width + tf.range(width)[:, tf.newaxis]
    return tf.gather(tf.reshape(image, (-1, 3)), rows)


def _reversed_if(wanted: tf.Tensor, image: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.cond(wanted, lambda: tf.reverse(image, [axis]), lambda: image)


def fit(
    images: tf.Tensor, image_px: int, rendering: Rendering = PLAIN
) -> tf.Tensor:
    """Resizes images to squares.

    Interpolates bilinearly without antialiasing, and rounds to whole numbers,
    half to even, so that an image can be cached in one byte per value.

    stretch and crop give the pixels of
    `keras.utils.image_dataset_from_directory`, the latter with
    `crop_to_aspect_ratio=True`. pad scales the longer side to `image_px`, as
    `tf.image.resize_with_pad` does; the shorter one is rounded down, and an
    odd line of the border is at the bottom or on the right.

    Args:
      images: uint8 or float32 (..., h, w, 3) in 0..255, of three or four
        dimensions.
      image_px: side of the result, in pixels.
      rendering: its `resize` and `background` are used.

    Returns:
      float32 (..., image_px, image_px, 3), whole numbers in 0..255.
    """
    leading = images.shape[:-3]
    size: Any = (image_px, image_px)
    if rendering.resize == CROP:
        images = _central_square(images)
    elif rendering.resize == PAD:
        size = _size_inside(tf.shape(images)[-3:-1], image_px)
    resized = tf.image.resize(images, size, method="bilinear")
    # `tf.image.resize` keeps the dtype of an image that has this size already.
    whole = tf.round(tf.cast(resized, tf.float32))
    if rendering.resize == PAD:
        colour = rendering.background or _BLACK
        whole = _with_border(whole, size, image_px, colour)
    return tf.ensure_shape(whole, (*leading, image_px, image_px, 3))


def _central_square(images: tf.Tensor) -> tf.Tensor:
    size = tf.shape(images)[-3:-1]
    side = tf.reduce_min(size)
    top, left = tf.unstack((size - side) // 2)
    return images[..., top : top + side, left : left + side, :]


def _size_inside(size: tf.Tensor, image_px: int) -> tf.Tensor:
    """Returns height and width scaled to a longer side of `image_px`, int32."""
    # A height of 100 million times 224 does not fit into int32.
    exact = tf.cast(size, tf.int64)
    scaled = exact * image_px // tf.reduce_max(exact)
    return tf.cast(tf.maximum(scaled, 1), tf.int32)


def _with_border(
    images: tf.Tensor, size: tf.Tensor, image_px: int, colour: Colour
) -> tf.Tensor:
    """Centres images of `size` in squares of a colour."""
    before = (image_px - size) // 2
    border = tf.stack([before, image_px - size - before], axis=1)
    others = tf.zeros((images.shape.rank - 3, 2), tf.int32)
    paddings = tf.concat([others, border, [[0, 0]]], axis=0)
    # `tf.pad` has one value for all channels. All numbers are whole, so that
    # adding the colour again restores them exactly.
    shift = tf.constant(colour, tf.float32)
    return tf.pad(images - shift, paddings) + shift
