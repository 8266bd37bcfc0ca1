"""Mixup and CutMix: each image of a batch is mixed with another one.

Mixup (Zhang et al., 2018) computes a weighted sum of two images. CutMix (Yun et
al., 2019) pastes a box of one image into the other. The partner of an image is
the next image of the global batch, without padding; the partner of the last
image is the first. The order is random, so the partners are random too.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def draw_weight(key: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws the weight of the first image from Beta(alpha, alpha).

    If X and Y are gamma variables of shape a, X / (X + Y) has the distribution
    Beta(a, a). A gamma variable of shape a is a gamma variable of shape a + 1,
    multiplied by U^(1 / a) with U uniform (Marsaglia and Tsang, 2000). The code
    uses logarithms, because U^(1 / a) underflows if a is small.

    Args:
      key: int64 (2,), the random key.
      alpha: above 0.

    Returns:
      float32 scalar in [0, 1].
    """
    gammas = tf.random.stateless_gamma(
        (2,), key, tf.constant(alpha + 1.0, tf.float64), dtype=tf.float64
    )
    uniform = tf.random.stateless_uniform(
        (2,),
        tf.random.fold_in(key, 1, alg="philox"),
        dtype=tf.float64,
        alg="philox",
    )
    # log1p(-U) is finite, because U is below 1.
    logs = tf.math.log(gammas) + tf.math.log1p(-uniform) / alpha
    return tf.cast(tf.sigmoid(logs[0] - logs[1]), tf.float32)


def draw_box(key: tf.Tensor, weight: tf.Tensor, image_px: int) -> tf.Tensor:
    """Draws the box that CutMix replaces.

    As in the authors' code, the box is a square with the fraction 1 - weight
    of the image's area. Its centre is uniform, and it is clipped at the edges.

    Args:
      key: int64 (2,), the random key.
      weight: float32 scalar in [0, 1], from `draw_weight`.
      image_px: side of the images.

    Returns:
      int32 (4,): top, left, bottom, right, the last two exclusive.
    """
    half = tf.cast(image_px * tf.sqrt(1.0 - weight), tf.int32) // 2
    uniform = tf.random.stateless_uniform((2,), key, alg="philox")
    centre = tf.cast(uniform * image_px, tf.int32)
    return tf.concat(
        [tf.maximum(centre - half, 0), tf.minimum(centre + half, image_px)],
        axis=0,
    )


def inside(boxes: tf.Tensor, image_px: int) -> tf.Tensor:
    """Returns a mask of the pixels inside boxes.

    Args:
      boxes: int32 (..., 4), as `draw_box` returns them.
      image_px: side of the images.

    Returns:
      bool (..., image_px, image_px, 1).
    """
    top, left, bottom, right = tf.unstack(boxes[..., None], axis=-2)
    at = tf.range(image_px)
    rows = (at >= top) & (at < bottom)
    columns = (at >= left) & (at < right)
    return (rows[..., :, None] & columns[..., None, :])[..., None]


def partners(mask: tf.Tensor) -> tf.Tensor:
    """Returns the index of each example's partner.

    Args:
      mask: float32 (b + 1,), 1 for an example and 0 for padding. In the first
        b rows, padding comes last. Row b is the partner of the last example.

    Returns:
      int32 (b,).
    """
    batch = mask.shape[0] - 1
    return tf.where(mask[1:] > 0, tf.range(1, batch + 1), batch)


def mixed(element: dict[str, Any]) -> dict[str, Any]:
    """Mixes the images of a batch.

    Padding is not mixed, and neither is the only image of a global batch.
    Their weight is 1.

    Args:
      element: `images`, `labels`, `mask` and other tensors with b + 1 rows (see
        `partners`), and `weights` for mixup or `boxes` for CutMix.

    Returns:
      The element with the first b rows. `labels2` has the labels of the
      partners, in the shape of `labels`. `lambdas` float32 (b,) in [0, 1] has
      the weights of the examples' own labels; with CutMix, the fraction of the
      image that is not replaced. If the element has `importance`, `importance2`
      float32 (b,) has that of the partners.
    """
    mask, places = element["mask"], partners(element["mask"])
    batch, image_px = places.shape[0], element["images"].shape[1]
    real = (mask[:batch] > 0) & (tf.gather(mask, places) > 0)
    element = dict(element)
    weights, boxes = element.pop("weights", None), element.pop("boxes", None)
    found = {name: value[:batch] for name, value in element.items()}
    own, other = found["images"], tf.gather(element["images"], places)
    if boxes is None:
        assert weights is not None
        lambdas = tf.where(real, weights[:batch], 1.0)
        factor = lambdas[:, None, None, None]
        images = factor * own + (1.0 - factor) * other
    else:
        boxes = tf.where(real[:, None], boxes[:batch], 0)
        images = tf.where(inside(boxes, image_px), other, own)
        sides = tf.cast(boxes[:, 2:] - boxes[:, :2], tf.float32)
        lambdas = 1.0 - sides[:, 0] * sides[:, 1] / image_px**2

    def of_partners(name: str) -> tf.Tensor:
        own_values = found[name]
        mixes = real[:, None] if own_values.shape.rank == 2 else real
        return tf.where(mixes, tf.gather(element[name], places), own_values)

    if "importance" in found:
        found["importance2"] = of_partners("importance")
    second = of_partners("labels")
    return {**found, "images": images, "labels2": second, "lambdas": lambdas}
