"""Tests of folding: which BatchNorm layers are folded, and the values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import pictures
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.folding import fold
from trainer.model.trunk.partition import partition_classifier

PX = 8
layers = keras.layers
Make = Callable[[Any], Any]


def classifier_of(make: Make) -> Classifier:
    """A classifier at 8 px whose weights are all random."""
    keras.utils.clear_session()
    inputs = keras.Input((PX, PX, 3), name="in")
    backbone = keras.Model(inputs, make(inputs), name="small")
    found = make_classifier(backbone, pixels="raw", num_classes=3, seed=0)
    rng = np.random.default_rng(0)
    for key, variable in found.variables.items():
        low = 0.5 if "variance" in key else -1.0
        variable.assign(rng.uniform(low, 1.5, variable.shape))
    return found


def norm(name: str = "norm", **arguments: Any) -> keras.layers.Layer:
    return layers.BatchNormalization(name=name, epsilon=0.01, **arguments)


def conv(name: str = "conv", **arguments: Any) -> keras.layers.Layer:
    return layers.Conv2D(4, 3, padding="same", name=name, **arguments)


def chain(*parts: keras.layers.Layer) -> Make:
    def make(x: Any) -> Any:
        for part in parts:
            x = part(x)
        return x

    return make


def _after_add(x: Any) -> Any:
    return norm()(layers.Add()([conv("one")(x), conv("two")(x)]))


def _after_concatenate(x: Any) -> Any:
    return norm()(layers.Concatenate()([conv("one")(x), conv("two")(x)]))


def _two_consumers(x: Any) -> Any:
    x = conv()(x)
    return layers.Add()([norm()(x), layers.ReLU()(x)])


def _transposed(x: Any) -> Any:
    return norm()(layers.Conv2DTranspose(4, 3, name="conv")(x))


# How a backbone is made, what it trains, and what is to be folded.
CASES: Mapping[str, tuple[Callable[[], Make], str, tuple[str, ...]]] = {
    "plain": (
        lambda: chain(conv(use_bias=False), norm()), "all", ("norm",)
    ),
    "with_bias": (lambda: chain(conv(), norm()), "all", ("norm",)),
    "in_the_trunk": (lambda: chain(conv(), norm()), "none", ("norm",)),
    "no_scale": (lambda: chain(conv(), norm(scale=False)), "all", ("norm",)),
    "no_center": (lambda: chain(conv(), norm(center=False)), "all", ("norm",)),
    "neither": (
        lambda: chain(
            conv(use_bias=False), norm(scale=False, center=False), conv("top")
        ),
        "all",
        ("norm",),
    ),
    "grouped": (
        lambda: chain(conv("stem"), conv(groups=2), norm()), "all", ("norm",)
    ),
    "depthwise": (
        lambda: chain(layers.DepthwiseConv2D(3, name="conv"), norm()),
        "all",
        ("norm",),
    ),
    "depthwise_multiplied": (
        lambda: chain(
            layers.DepthwiseConv2D(
                3, depth_multiplier=2, use_bias=False, name="conv"
            ),
            norm(),
        ),
        "all",
        ("norm",),
    ),
    "twice_in_a_row": (
        # The second one follows no convolution.
        lambda: chain(conv(), norm(), norm("again")), "all", ("norm",)
    ),
    "before_the_convolution": (lambda: chain(norm(), conv()), "all", ()),
    "after_add": (lambda: _after_add, "all", ()),
    "after_concatenate": (lambda: _after_concatenate, "all", ()),
    "with_activation": (
        lambda: chain(conv(activation="relu"), norm()), "all", ()
    ),
    "two_consumers": (lambda: _two_consumers, "all", ()),
    "other_axis": (lambda: chain(conv(), norm(axis=1)), "all", ()),
    "transposed": (lambda: _transposed, "all", ()),
    "across_the_cut": (lambda: chain(conv(), norm()), "last:1", ()),
    "both_sides_of_the_cut": (
        lambda: chain(
            conv("one"), norm("n1"), layers.ReLU(), conv("two"), norm("n2")
        ),
        "last:2",
        ("n1", "n2"),
    ),
}  # fmt: skip


def run_partition(
    partition: Any, classifier: Classifier, images: tf.Tensor
) -> Any:
    """Computes tail after trunk with the variables' current values."""
    inputs: Sequence[tf.Tensor] = [images]
    if partition.cut:
        inputs = partition.trunk(partition.trunk_constants(), images)
    variables = list(classifier.variables.values())
    values = [tf.convert_to_tensor(v.value) for v in variables]
    return partition.logits(variables, values, inputs)


@pytest.mark.parametrize("case", CASES)
def test_folded_layers_and_unchanged_logits(case: str) -> None:
    make, unfreeze, expected = CASES[case]
    classifier = classifier_of(make())
    plan = freeze_plan(classifier, unfreeze)
    partition = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert partition is not None
    assert partition.folded == expected
    images = tf.constant(pictures(5)[:, ::4, ::4] / 255)
    variables = list(classifier.variables.values())
    values = [tf.convert_to_tensor(v.value) for v in variables]
    true = classifier.logits(variables, values, images).numpy()
    found = run_partition(partition, classifier, images).numpy()
    # A thousandth of what the test's own weights change would be seen.
    np.testing.assert_allclose(found, true, atol=1e-5 * np.abs(true).max())


def test_nothing_is_folded_unless_requested() -> None:
    classifier = classifier_of(chain(conv(), norm()))
    plan = freeze_plan(classifier, "all")
    partition = partition_classifier(classifier, plan, fold_batch_norm=False)
    assert partition is not None
    assert partition.folded == ()


def test_numbers_worked_out_by_hand() -> None:
    """Gamma 6, variance 4 - epsilon: a scale of 3."""
    keras.utils.clear_session()
    convolution = layers.Conv2D(1, 1)
    convolution.build((None, 1, 1, 2))
    normalization = norm()
    normalization.build((None, 1, 1, 1))
    values = {
        id(convolution.kernel): [[[[2.0], [-1.0]]]],
        id(convolution.bias): [5.0],
        id(normalization.gamma): [6.0],
        id(normalization.beta): [0.5],
        id(normalization.moving_mean): [7.0],
        id(normalization.moving_variance): [4.0 - 0.01],
    }
    kernel, bias = fold(
        convolution, normalization, lambda v: tf.constant(values[id(v)])
    )
    np.testing.assert_allclose(kernel, [[[[6.0], [-3.0]]]], rtol=1e-6)
    # 0.5 + (5 - 7) * 3.
    np.testing.assert_allclose(bias, [-5.5], rtol=1e-6)


@pytest.mark.parametrize("multiplier", [0, 2], ids=["conv", "depthwise"])
def test_gradients_match_the_formula(multiplier: int) -> None:
    """Of sum(g * (s * conv(x, K) + b)) with respect to K, bias, gamma, beta.

    With y = conv(x, K) before bias, s = gamma / sqrt(variance + epsilon) and
    m the mean, the sum has the gradients  sum g  (beta),  s sum g  (bias),
    sum g (y + bias - m) / sqrt(variance + epsilon)  (gamma).  That of K comes
    by a difference quotient, which is exact as the sum is linear in K.
    """
    keras.utils.clear_session()
    rng = np.random.default_rng(1)
    depthwise = layers.DepthwiseConv2D(2, depth_multiplier=2)
    convolution = depthwise if multiplier else layers.Conv2D(6, 2)
    convolution.build((None, PX, PX, 3))
    normalization = norm()
    normalization.build((None, 7, 7, 6))
    x = rng.normal(size=(2, PX, PX, 3))
    g = rng.normal(size=(2, 7, 7, 6))
    variables = {
        "kernel": convolution.kernel,
        "bias": convolution.bias,
        "gamma": normalization.gamma,
        "beta": normalization.beta,
        "mean": normalization.moving_mean,
        "variance": normalization.moving_variance,
    }
    values = {
        name: tf.constant(rng.uniform(0.5, 1.5, v.shape), tf.float64)
        for name, v in variables.items()
    }

    def convolve(kernel: tf.Tensor) -> tf.Tensor:
        if multiplier:
            return tf.nn.depthwise_conv2d(x, kernel, [1] * 4, "VALID")
        return tf.nn.conv2d(x, kernel, 1, "VALID")

    by_id = {id(v): values[name] for name, v in variables.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(values.values()))
        kernel, bias = fold(convolution, normalization, lambda v: by_id[id(v)])
        total = tf.reduce_sum(g * (convolve(kernel) + bias))
    found = tape.gradient(total, values)

    plain = {name: value.numpy() for name, value in values.items()}
    y = convolve(values["kernel"]).numpy()
    root = np.sqrt(plain["variance"] + 0.01)
    scale = plain["gamma"] / root
    sums = g.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(found["beta"], sums, rtol=1e-9)
    np.testing.assert_allclose(found["bias"], scale * sums, rtol=1e-9)
    centred = y + plain["bias"] - plain["mean"]
    np.testing.assert_allclose(
        found["gamma"], (g * centred).sum(axis=(0, 1, 2)) / root, rtol=1e-8
    )
    for at in [(0, 0, 0, 0), (1, 0, 2, 1)]:
        step = np.zeros(plain["kernel"].shape)
        step[at] = 1.0
        quotient = (g * scale * convolve(tf.constant(step)).numpy()).sum()
        np.testing.assert_allclose(
            found["kernel"].numpy()[at], quotient, rtol=1e-9
        )
