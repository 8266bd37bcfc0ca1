"""The classifier: forward pass, head weights, keys of variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import IMAGE_PX, live_classifier, pictures
from trainer.model.classifier import (
    derived_seed,
    make_classifier,
    variable_keys,
)


def small(*, classes: int = 3, seed: int = 0, width: int = 4):
    """A small classifier, which is built quickly."""
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(width, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization()(x)
    return make_classifier(
        keras.Model(inputs, x), pixels="raw", num_classes=classes, seed=seed
    )


@pytest.fixture(scope="module")
def mobilenet():
    """A MobileNetV2 whose BatchNorm statistics are not the initial ones."""
    return live_classifier("MobileNetV2", 5)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_logits_equal_keras(mobilenet, graph):
    images = pictures(6)
    variables = list(mobilenet.variables.values())

    def forward(values, images):
        return mobilenet.logits(variables, values, images)

    if graph:
        forward = tf.function(forward)
    logits = forward([v.value for v in variables], images)
    expected = mobilenet.model(images / 127.5 - 1, training=False)
    assert np.std(expected, axis=0).min() > 0.01
    assert (logits.dtype, logits.shape) == (tf.float32, (6, 5))
    # The graph fuses what eager calls keep apart.
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_logits_are_those_of_the_given_values(mobilenet):
    """The order is free, and the variables do not change."""
    images = pictures(3)
    keys = list(reversed(mobilenet.variables))
    values = [mobilenet.variables[key].numpy() for key in keys]
    values[keys.index("head/kernel")] *= 0
    values[keys.index("head/bias")] = np.arange(5, dtype=np.float32)
    logits = mobilenet.logits(
        [mobilenet.variables[key] for key in keys],
        [tf.constant(value) for value in values],
        images,
    )
    np.testing.assert_array_equal(logits, [np.arange(5)] * 3)
    assert np.any(mobilenet.variables["head/kernel"].numpy())


def test_logits_do_not_depend_on_the_rest_of_the_batch(mobilenet):
    images = pictures(8)
    variables = list(mobilenet.variables.values())
    values = [v.value for v in variables]
    whole = mobilenet.logits(variables, values, images)
    part = mobilenet.logits(variables, values, images[:2])
    np.testing.assert_allclose(whole[:2], part, atol=1e-5)


def test_logits_need_a_value_for_each_variable(mobilenet):
    variables = list(mobilenet.variables.values())
    with pytest.raises(ValueError, match="shorter"):
        mobilenet.logits(
            variables, [v.value for v in variables[1:]], pictures(1)
        )


def test_layers_of_the_classifier(mobilenet):
    assert mobilenet.image_px == IMAGE_PX
    assert mobilenet.model.output_shape == (None, 5)
    assert [layer.name for layer in mobilenet.model.layers] == [
        "pixels",
        mobilenet.backbone.name,
        "pool",
        "head",
    ]
    assert mobilenet.head.activation is keras.activations.linear


def test_head_weights_are_a_function_of_the_seed_only():
    keras.utils.set_random_seed(1)
    first = small(seed=7)
    keras.utils.set_random_seed(2)
    np.random.default_rng().random()
    keras.random.uniform((3,))
    second = small(seed=7)
    other = small(seed=8)
    kernel = first.head.kernel.numpy()
    np.testing.assert_array_equal(second.head.kernel.numpy(), kernel)
    assert np.all(other.head.kernel.numpy() != kernel)
    # Glorot's bound for 4 inputs and 3 outputs.
    assert 0 < np.abs(kernel).max() <= np.sqrt(6 / 7)
    np.testing.assert_array_equal(first.head.bias.numpy(), np.zeros(3))


def test_keys_are_stable_and_unique():
    one, two = small(), small()
    assert list(one.variables) == list(two.variables)
    assert list(one.variables) == [
        "conv/kernel",
        "conv/bias",
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "batch_normalization/moving_mean",
        "batch_normalization/moving_variance",
        "head/kernel",
        "head/bias",
    ]
    assert len({id(v) for v in one.variables.values()}) == 8


@pytest.mark.slow
def test_keys_of_a_real_backbone_are_stable_and_unique():
    keys = [list(live_classifier("MobileNetV2", 2).variables) for _ in "ab"]
    assert keys[0] == keys[1]
    # 52 convolutions without bias, 52 BatchNorms of four, kernel and bias.
    assert len(set(keys[0])) == len(keys[0]) == 52 + 52 * 4 + 2


def test_repeated_paths_get_a_number():
    class Model:
        def __init__(self) -> None:
            self.variables = [
                keras.Variable(np.full(2, i, np.float32), name="w")
                for i in range(3)
            ]

    keys = variable_keys(Model())
    assert list(keys) == ["w", "w#2", "w#3"]
    assert [v.numpy()[0] for v in keys.values()] == [0, 1, 2]


def test_derived_seeds_differ_by_seed_and_purpose():
    seeds = {
        derived_seed(seed, purpose)
        for seed in range(20)
        for purpose in ("head", "backbone")
    }
    assert len(seeds) == 40
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed(3, "head") == derived_seed(3, "head")
