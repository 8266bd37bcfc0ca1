"""The moving average of the weights, against values worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.replicas import strategy_of
from trainer.learning.averages import WeightAverages


def by_hand(values, decay):
    """Returns the averages of a weight that takes these values."""
    average, found = values[0], []
    for t, value in enumerate(values[1:], 1):
        kept = min(decay, t / (t + 9))
        average = kept * average + (1 - kept) * value
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.99])
@pytest.mark.parametrize("replicas", [1, 2])
def test_averages_by_hand(decay, replicas):
    values = [1.0, 2.0, 4.0, -1.0, 0.5]
    strategy = strategy_of(replicas)
    with strategy.scope():
        weight = keras.Variable([values[0]], name="w")
        averages = WeightAverages({"w": weight}, decay)

    @tf.function
    def step():
        strategy.run(averages.update)

    found = []
    for value in values[1:]:
        weight.assign([value])
        step()
        found.append(float(averages.values["w"].numpy()[0]))
    np.testing.assert_allclose(found, by_hand(values, decay), rtol=1e-6)
    assert int(averages.count.numpy()) == 4


def test_the_exchange_is_undone_after_an_error():
    weight = keras.Variable([1.0], name="w")
    averages = WeightAverages({"w": weight}, 0.5)
    weight.assign([3.0])
    seen = []

    def fail():
        with averages.in_use():
            seen.extend([weight.numpy(), averages.values["w"].numpy()])
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert seen == [[1.0], [3.0]]
    assert weight.numpy().tolist() == [3.0]
    assert averages.values["w"].numpy().tolist() == [1.0]
