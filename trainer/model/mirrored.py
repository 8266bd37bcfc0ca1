"""Test-time augmentation: an image and its mirror image, averaged.

The mean is taken of probabilities, not of logits, so that a confident error on
one of the two images cannot outweigh the other. The logarithm is concave, so
for each sample the loss of the mean is at most the mean of the two losses.
"""

from __future__ import annotations

import math

import tensorflow as tf


def mirror(images: tf.Tensor) -> tf.Tensor:
    """Returns images (n, height, width, channels), flipped left to right."""
    return tf.reverse(images, axis=[2])


def mean_sigmoid_logits(plain: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns logits whose sigmoid is the mean of two sigmoids.

    With p the mean, they are log(p / (1 - p)).

    Args:
      plain: logits of images, float32 (n, classes).
      mirrored: logits of their mirror images, with the same shape.

    Returns:
      float32 (n, classes).
    """
    both = tf.stack([plain, mirrored], axis=0)
    # The factor 1/2 of both means cancels out.
    return tf.reduce_logsumexp(
        tf.math.log_sigmoid(both), axis=0
    ) - tf.reduce_logsumexp(tf.math.log_sigmoid(-both), axis=0)


def mean_logits(plain: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns logits whose softmax is the mean of two softmaxes.

    Args:
      plain: logits of images, float32 (n, classes).
      mirrored: logits of their mirror images, with the same shape.

    Returns:
      float32 (n, classes): the logarithm of the mean probability,
      log((softmax(plain) + softmax(mirrored)) / 2).
    """
    both = tf.stack(
        [tf.nn.log_softmax(plain), tf.nn.log_softmax(mirrored)], axis=0
    )
    return tf.reduce_logsumexp(both, axis=0) - math.log(2.0)
