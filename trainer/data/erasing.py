"""Random erasing: a box of an image is replaced by noise.

Zhong et al., "Random Erasing Data Augmentation" (2020). The ranges and the way
in which boxes are drawn are those of torchvision.
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.data.mixing import inside

# The box has a uniform fraction of the image's area, and a log-uniform
# height / width.
_AREA = (0.02, 0.33)
_ASPECT = (0.3, 3.3)
# Number of boxes drawn; the first one that is smaller than the image is used.
_TRIES = 10


def draw_erased_box(
    key: tf.Tensor, probability: float, image_px: int
) -> tf.Tensor:
    """Draws the box of one image that is erased.

    Args:
      key: int64 (2,), the random key.
      probability: the probability that a box is erased, in [0, 1].
      image_px: side of the images.

    Returns:
      int32 (4,): top, left, bottom, right, the last two exclusive; zeros if
      nothing is erased.
    """
    uniform = tf.random.stateless_uniform((1 + 4 * _TRIES,), key, alg="philox")
    area, aspect, top, left = tf.unstack(
        tf.reshape(uniform[1:], (4, _TRIES)), axis=0
    )
    area = (_AREA[0] + area * (_AREA[1] - _AREA[0])) * image_px**2
    low, high = (math.log(bound) for bound in _ASPECT)
    aspect = tf.exp(low + aspect * (high - low))
    height = tf.maximum(tf.round(tf.sqrt(area * aspect)), 1.0)
    width = tf.maximum(tf.round(tf.sqrt(area / aspect)), 1.0)
    fits = (height < image_px) & (width < image_px)
    top = tf.floor(top * (image_px - height + 1.0))
    left = tf.floor(left * (image_px - width + 1.0))
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    box = tf.cast(boxes[tf.argmax(tf.cast(fits, tf.int32))], tf.int32)
    erases = (uniform[0] < probability) & tf.reduce_any(fits)
    return tf.where(erases, box, 0)


def erase(images: tf.Tensor, boxes: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Fills one box of each image with uniform noise.

    The noise is a random integer in 0..255 for each pixel and channel. It is
    the best filling of those that the paper compares.

    Args:
      images: float32 (B, px, px, 3) in 0..255.
      boxes: int32 (B, 4), from `draw_erased_box`.
      keys: int64 (B, 2), the random keys of the noise.

    Returns:
      float32 (B, px, px, 3) in 0..255.
    """
    shape = images.shape[1:]

    def one(row: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, box, key = row

        def filled() -> tf.Tensor:
            noise = tf.random.stateless_uniform(
                shape, key, 0, 256, dtype=tf.int32, alg="philox"
            )
            noise = tf.cast(noise, tf.float32)
            return tf.where(inside(box, shape[0]), noise, image)

        return tf.cond(box[2] > box[0], filled, lambda: image)

    return tf.map_fn(
        one,
        (images, boxes, keys),
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )
