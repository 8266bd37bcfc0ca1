"""The pure step against Keras, and other ways to the same numbers."""

from __future__ import annotations

import functools
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    labels_of,
    tiny_classifier,
    tiny_images,
)
from tests.support.replicas import feed, strategy_of
from tests.support.steps import (
    CLASSES,
    Trainer,
    adam,
    keras_gradients,
    matrices_of,
    norm,
    pure_step,
    tiny_batch,
    values_of,
)
from trainer.data.augment import warp
from trainer.distribute import devices
from trainer.learning.graph_loops import (
    make_evaluation_function,
)
from trainer.learning.steps import (
    make_evaluation_step,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan, set_trainable


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("unfreeze", ["none", "last:2", "all"])
def test_gradients_equal_those_of_keras(unfreeze, graph):
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, unfreeze)
    set_trainable(classifier, plan)
    images, labels = tiny_images(5), labels_of(5, CLASSES)
    expected, loss = keras_gradients(classifier, images, labels)
    batch = batch_of(images, labels, 8)
    gradients, sums = pure_step(classifier, plan, batch, graph=graph)
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        assert gradient.dtype == np.float32
        assert np.any(expected[key])
        np.testing.assert_allclose(
            gradient, expected[key], rtol=1e-4, atol=1e-6, err_msg=key
        )
    assert sums["loss"] == pytest.approx(5 * loss, rel=1e-5)
    logits = classifier.model(images / 127.5 - 1, training=False)
    assert sums["correct"] == np.sum(np.argmax(logits, axis=1) == labels)
    assert sums["count"] == 5


@pytest.mark.parametrize("padding", [0.0, 77.0, 1e4])
def test_padded_rows_do_not_count_with_any_content(padding):
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "all")
    full = tiny_batch(5, 8)
    expected = pure_step(classifier, plan, full)
    other = tiny_batch(5, 8, padding=padding)
    other["labels"][5:] = (0, 1, 2)
    gradients, sums = pure_step(classifier, plan, other)
    assert sums == expected[1]
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected[0][key], err_msg=key)


def test_the_parts_of_a_batch_add_up_to_the_whole():
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "all")
    batch = tiny_batch(8, 8)
    whole, sums = pure_step(classifier, plan, batch)
    parts = [
        pure_step(
            classifier,
            plan,
            {name: value[rows] for name, value in batch.items()},
            examples=8,
        )
        for rows in (slice(0, 3), slice(3, 8))
    ]
    for key, gradient in whole.items():
        np.testing.assert_allclose(
            gradient,
            parts[0][0][key] + parts[1][0][key],
            rtol=1e-4,
            atol=1e-6,
            err_msg=key,
        )
    assert sums["count"] == parts[0][1]["count"] + parts[1][1]["count"]


def test_matrices_warp_the_images_first():
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "last:2")
    batch = tiny_batch(4, 4)
    matrices = matrices_of(4)
    warped = warp(batch["images"], matrices, kernel="projective").numpy()
    assert np.abs(warped - batch["images"]).max() > 10
    expected = pure_step(classifier, plan, {**batch, "images": warped})
    gradients, sums = pure_step(
        classifier, plan, {**batch, "matrices": matrices}
    )
    assert sums == pytest.approx(expected[1])
    for key, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[0][key], atol=1e-6)


def test_a_trainable_variable_without_a_gradient_gets_zeros():
    keras.utils.clear_session()
    classifier = tiny_classifier()
    classifier.variables["top_norm/gamma"].assign(np.zeros(5))
    plan = freeze_plan(classifier, "last:2")
    gradients, _ = pure_step(classifier, plan, tiny_batch(4, 4))
    np.testing.assert_array_equal(gradients["top_conv/bias"], np.zeros(5))
    assert np.any(gradients["top_norm/beta"])


@pytest.fixture
def bfloat16():
    """A classifier that computes in it; the policy is put back afterwards."""
    yield functools.partial(tiny_classifier, precision="bfloat16")
    devices.set_precision("float32")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    "replicas", [1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_bfloat16_keeps_variables_and_gradients_in_float32(bfloat16, replicas):
    trainer = Trainer(
        replicas=replicas, unfreeze="all", optimizer=adam, make=bfloat16
    )
    layers = {layer.name: layer for layer in trainer.classifier.backbone.layers}
    assert layers["top_conv"].compute_dtype == "bfloat16"
    assert trainer.classifier.head.compute_dtype == "float32"
    batch = tiny_batch(3, 4)
    before = values_of(trainer.classifier)
    (call,) = trainer.train([batch, batch])
    assert np.all(np.isfinite(call.sums["loss"]))
    assert np.all(np.isfinite(call.gradient_max))
    assert np.all(call.gradient_max)
    variables = (
        *trainer.classifier.variables.values(),
        *trainer.optimizer.variables[1:],
    )
    for variable in variables:
        assert variable.value.dtype == tf.float32, variable.path
    for key in trainer.plan.trainable:
        assert np.any(trainer.classifier.variables[key].numpy() != before[key])


@pytest.mark.slow
def test_bfloat16_gradients_are_near_those_of_float32(bfloat16):
    halves = bfloat16()
    plan = freeze_plan(halves, "all")
    batch = tiny_batch(8, 8)
    gradients, sums = pure_step(halves, plan, batch)
    whole = tiny_classifier()
    set_trainable(whole, freeze_plan(whole, "all"))
    expected, loss = keras_gradients(whole, batch["images"], batch["labels"])
    assert all(g.dtype == np.float32 for g in gradients.values())
    apart = norm(gradients[k] - expected[k] for k in expected)
    # A difference of eight bits of mantissa; 0 would mean float32.
    assert 1e-5 < apart / norm(expected.values()) < 0.05
    assert sums["loss"] == pytest.approx(8 * loss, rel=0.02)


def fixed_logits(logits: np.ndarray) -> Classifier:
    """A classifier whose logits are its first pixels' red, row for row."""

    class Fixed:
        variables: ClassVar[dict] = {}
        multilabel = False

        def logits(self, variables, values, images):
            return tf.constant(logits, tf.float32)

    return Fixed()


def evaluate_by_hand(logits, labels, mask) -> dict[str, np.ndarray]:
    step = make_evaluation_step(fixed_logits(np.array(logits)), len(logits[0]))
    batch = {
        "images": tf.zeros((len(labels), 1, 1, 3)),
        "labels": tf.constant(labels, tf.int32),
        "mask": tf.constant(mask, tf.float32),
    }
    sums, outputs = step([], batch)
    np.testing.assert_array_equal(outputs, np.float32(logits))
    return {name: value.numpy() for name, value in sums.items()}


def test_evaluation_sums_by_hand():
    # Softmax of (ln 3, 0) is (3/4, 1/4).
    ln3 = np.log(3)
    sums = evaluate_by_hand(
        [[ln3, 0], [ln3, 0], [0, ln3], [0, 99]], [0, 1, 1, 0], [1, 1, 1, 0]
    )
    assert sums["loss"] == pytest.approx(-np.log([0.75, 0.25, 0.75]).sum())
    np.testing.assert_array_equal(sums["confusion"], [[1, 0], [1, 1]])
    assert sums["count"] == 3
    assert sums["top5"] == 3


@pytest.mark.parametrize(
    ("logits", "label", "hit"),
    [
        ([7, 6, 5, 4, 3, 2, 1], 4, True),
        ([7, 6, 5, 4, 3, 2, 1], 5, False),
        ([1, 2, 3, 4, 5, 6, 7], 2, True),
        ([1, 2, 3, 4, 5, 6, 7], 1, False),
        # A model that diverged is not right.
        ([np.nan] * 7, 0, False),
    ],
)
def test_top_five_counts_the_five_largest_logits(logits, label, hit):
    assert evaluate_by_hand([logits], [label], [1])["top5"] == hit


@pytest.mark.parametrize(
    "xla", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_the_evaluation_function_adds_up_its_steps(xla):
    classifier = tiny_classifier()
    function = make_evaluation_function(
        strategy_of(1), classifier, CLASSES, xla=xla
    )
    batches = [tiny_batch(n, 4, seed=n) for n in (4, 4, 3)]
    whole = function(feed(strategy_of(1), batches), 3)
    parts = [function(feed(strategy_of(1), [b]), 1) for b in batches]
    assert whole["count"] == 11
    assert whole["confusion"].sum() == 11
    for name, value in whole.items():
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, sum(p[name] for p in parts))
