"""The loss of each sample."""

from __future__ import annotations

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLoss:
    """The cross-entropy that training minimises.

    With smoothing s and K classes, the target of the own class is 1 - s + s / K
    and that of the others s / K (Szegedy et al., 2016).

    Attributes:
      smoothing: part of each label that is spread over all classes.
      class_weights: factor of the loss of each class; empty for 1.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def of(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each sample, nats.

        Args:
          logits: float32 (batch, classes).
          labels: int32 (batch,).

        Returns:
          float32 (batch,).
        """
        losses = cross_entropy(logits, labels)
        if self.smoothing:
            even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
            losses = (1.0 - self.smoothing) * losses + self.smoothing * even
        if self.class_weights:
            weights = tf.constant(self.class_weights, tf.float32)
            losses *= tf.gather(weights, labels)
        return losses


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each sample, nats, float32 (batch,)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
