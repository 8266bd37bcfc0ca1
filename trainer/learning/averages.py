"""An exponential moving average of the trained weights.

After each update, with decay d and t updates so far,

    average = a average + (1 - a) weight,   a = min(d, t / (t + 9))

so that the first averages do not hold on to the weights at the start. The ramp
is that of TensorFlow's ExponentialMovingAverage, counted from t = 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import keras
import tensorflow as tf


class WeightAverages:
    """Averages of the trained weights, beside the weights themselves.

    Keras's own average overwrites the weights when training ends. Here the two
    are exchanged for a validation or a checkpoint, and exchanged back.

    Attributes:
      decay: the decay d, at least 0 and below 1.
      count: int64 variable, the number of updates so far.
      values: float32 variables by key: the averages, or the weights while the
        two are exchanged.
    """

    def __init__(
        self, weights: Mapping[str, keras.Variable], decay: float
    ) -> None:
        """Starts at the current weights, in the scope of the strategy.

        Args:
          weights: the trained variables, by key.
          decay: the decay d.
        """
        self.decay = decay
        self._weights = dict(weights)
        self._exchange: Callable[[], None] | None = None
        self.count = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.values = {
            key: tf.Variable(
                tf.convert_to_tensor(weight.value),
                trainable=False,
                # Each replica computes the same average of equal weights.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for key, weight in weights.items()
        }

    def update(self) -> None:
        """Adds the current weights; runs in the graph, on each replica."""
        self.count.assign_add(1)
        count = tf.cast(tf.convert_to_tensor(self.count), tf.float32)
        kept = tf.minimum(self.decay, count / (count + 9.0))
        for key, average in self.values.items():
            weight = tf.convert_to_tensor(self._weights[key].value)
            average.assign(
                tf.convert_to_tensor(average) * kept + weight * (1.0 - kept)
            )

    def exchange(self) -> None:
        """Exchanges weights and averages, on every replica."""
        # As a graph, which is several times as fast for many variables.
        if self._exchange is None:
            self._exchange = tf.function(self._exchange_all, autograph=False)
        self._exchange()

    def _exchange_all(self) -> None:
        for key, average in self.values.items():
            variable = self._weights[key]
            weight = tf.convert_to_tensor(variable.value)
            variable.assign(tf.convert_to_tensor(average))
            average.assign(weight)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Makes the averages the model's weights during the block."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()
