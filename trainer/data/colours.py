"""Operations on the colours of one image, as Pillow defines them.

They run on the host, where images are read, so they do not depend on devices
or XLA. Pixels are float32 in 0..255 and are not rounded; on whole numbers each
operation agrees with `PIL.ImageOps` and `PIL.ImageEnhance` within 1, or 2 where
Pillow also rounds an intermediate image.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Weights of red, green and blue in a grey image (ITU-R BT.601).
_GREY = (0.299, 0.587, 0.114)
# Pillow's ImageFilter.SMOOTH.
_SMOOTH = ((1, 1, 1), (1, 5, 1), (1, 1, 1))

Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def identity(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Returns the image."""
    del strength
    return image


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales all pixels; a factor of 0 is black."""
    return _blend(tf.zeros_like(image), image, factor)


def colour(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales the saturation; a factor of 0 is grey."""
    return _blend(_grey(image), image, factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales the distance to the mean grey; a factor of 0 is uniform."""
    return _blend(tf.reduce_mean(_grey(image)), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales the distance to the smoothed image; the border is unchanged."""
    kernel = tf.constant(_SMOOTH, tf.float32)[:, :, None, None] / 13.0
    smooth = tf.nn.depthwise_conv2d(
        image[None], tf.tile(kernel, (1, 1, 3, 1)), (1, 1, 1, 1), "VALID"
    )[0]
    inner = _blend(smooth, image[1:-1, 1:-1], factor)
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
    return tf.concat([image[:1], middle, image[-1:]], axis=0)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of each pixel; `bits` is rounded."""
    step = 2.0 ** (8.0 - tf.round(bits))
    return tf.floor(image / step) * step


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the pixels at or above a threshold."""
    return tf.where(image < threshold, image, 255.0 - image)


def autocontrast(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255, if it is not uniform."""
    del strength
    low = tf.reduce_min(image, axis=(0, 1))
    width = tf.reduce_max(image, axis=(0, 1)) - low
    stretched = (image - low) * 255.0 / tf.maximum(width, 1e-3)
    return tf.where(width > 0, stretched, image)


def equalize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Makes the histogram of each channel flat, as far as that is possible."""
    del strength
    levels = tf.cast(tf.round(image), tf.int32)
    channels = [_equalized(levels[..., c]) for c in range(3)]
    return tf.stack(channels, axis=-1)


def _equalized(levels: tf.Tensor) -> tf.Tensor:
    """Returns one channel, float32 (H, W), through Pillow's table."""
    counts = tf.math.bincount(
        tf.reshape(levels, (-1,)), minlength=256, maxlength=256
    )
    last = tf.reduce_max(levels)
    step = (tf.reduce_sum(counts) - counts[last]) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.clip_by_value(table, 0, 255), tf.range(256))
    return tf.cast(tf.gather(table, levels), tf.float32)


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Returns the grey image, float32 (H, W, 1)."""
    return tf.reduce_sum(image * tf.constant(_GREY), axis=-1, keepdims=True)


def _blend(first: tf.Tensor, second: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns first + factor * (second - first), clipped to 0..255."""
    return tf.clip_by_value(first + factor * (second - first), 0.0, 255.0)


# In a fixed order, which the draws of `trivial` depend on.
OPERATIONS: tuple[Operation, ...] = (
    identity,
    brightness,
    colour,
    contrast,
    sharpness,
    posterize,
    solarize,
    autocontrast,
    equalize,
)


def recolour(
    images: tf.Tensor, operations: tf.Tensor, strengths: tf.Tensor
) -> tf.Tensor:
    """Applies one operation to each image.

    Args:
      images: float32 (B, H, W, 3) in 0..255.
      operations: int32 (B,), indices into OPERATIONS.
      strengths: float32 (B,).

    Returns:
      float32 (B, H, W, 3) in 0..255.
    """

    def one(row: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, operation, strength = row
        return tf.switch_case(
            operation,
            [lambda f=f: f(image, strength) for f in OPERATIONS],
        )

    return tf.map_fn(
        one,
        (images, operations, strengths),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32),
    )
