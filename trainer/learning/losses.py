"""The loss of each sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLoss:
    """The cross-entropy that training minimises.

    With smoothing s and K classes, the target of the own class is 1 - s + s / K
    and that of the others s / K (Szegedy et al., 2016). With several labels, it
    is (1 - s) y + s / 2 for each class, as in Keras's BinaryCrossentropy.

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
          labels: int32 (batch,); with several labels, float32 (batch,
            classes), 1 for each class of a sample.

        Returns:
          float32 (batch,).
        """
        if labels.shape.rank == 2:
            smoothed = labels
            if self.smoothing:
                smoothed = (1.0 - self.smoothing) * labels + self.smoothing / 2
            return sigmoid_cross_entropy(logits, smoothed)
        losses = cross_entropy(logits, labels)
        if self.smoothing:
            even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
            losses = (1.0 - self.smoothing) * losses + self.smoothing * even
        if self.class_weights:
            weights = tf.constant(self.class_weights, tf.float32)
            losses *= tf.gather(weights, labels)
        return losses

    def of_batch(
        self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the loss of each example of a batch, nats.

        Args:
          logits: float32 (batch, classes).
          batch: `labels`; see `of`. A mixed batch also has `labels2`, of the
            same shape, and `lambdas` float32 (batch,), the weights of
            `labels`; those of `labels2` are 1 - `lambdas`. `importance` and
            `importance2` float32 (batch,), if there are any, are factors of the
            losses of `labels` and `labels2`.

        Returns:
          float32 (batch,).
        """
        losses = self.of(logits, batch["labels"])
        if "importance" in batch:
            losses *= batch["importance"]
        if "lambdas" not in batch:
            return losses
        weights = batch["lambdas"]
        others = self.of(logits, batch["labels2"])
        if "importance2" in batch:
            others *= batch["importance2"]
        return weights * losses + (1.0 - weights) * others


def main_labels(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the label with the larger weight of each example.

    Args:
      batch: see `TrainingLoss.of_batch`. If the weights are equal, the label is
        that of `labels`.

    Returns:
      int32 (batch,), or float32 (batch, classes).
    """
    if "lambdas" not in batch:
        return batch["labels"]
    first = batch["lambdas"] >= 0.5
    if batch["labels"].shape.rank == 2:
        first = first[:, None]
    return tf.where(first, batch["labels"], batch["labels2"])


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each sample, nats, float32 (batch,)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def sigmoid_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean binary cross-entropy over the classes of each sample.

    Equals Keras's BinaryCrossentropy(from_logits=True).

    Args:
      logits: float32 (batch, classes).
      labels: float32 (batch, classes), in [0, 1].

    Returns:
      float32 (batch,), nats.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses, axis=1)
