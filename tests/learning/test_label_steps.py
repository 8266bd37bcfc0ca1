"""Steps on images with several labels, compared with Keras and NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import tiny_classifier, tiny_images
from tests.support.steps import Trainer, pure_step
from trainer.data.batches import training_batches
from trainer.data.mixing import mixed
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.learning.losses import TrainingLoss
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.model.mirrored import mean_sigmoid_logits

CLASSES = 3
# Large logits too, at which log(sigmoid) would be -inf.
LOGITS = np.array([[1.5, -0.25, 90.0], [-90.0, 0.0, 2.0]], np.float32)
LABELS = np.array([[1, 0, 0], [0, 1, 1]], np.float32)


def several() -> Classifier:
    return dataclasses.replace(tiny_classifier(CLASSES), multilabel=True)


def batch_of(count: int, size: int, padding: float = 0.0) -> dict[str, Any]:
    """Returns a batch of which the first `count` rows are real."""
    rng = np.random.default_rng(3)
    missing = size - count
    images = np.pad(
        tiny_images(count),
        [(0, missing), (0, 0), (0, 0), (0, 0)],
        constant_values=padding,
    )
    labels = (rng.uniform(size=(size, CLASSES)) < 0.4).astype(np.float32)
    return {
        "images": images,
        # Those of the padding are not 0, to show that they do not count.
        "labels": labels,
        "mask": (np.arange(size) < count).astype(np.float32),
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_binary_cross_entropy_of_keras(
    smoothing: float,
) -> None:
    loss = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction=None
    )
    found = TrainingLoss(smoothing=smoothing).of(
        tf.constant(LOGITS), tf.constant(LABELS)
    )
    np.testing.assert_allclose(found, loss(LABELS, LOGITS), rtol=1e-6)


def test_a_mixed_loss_is_that_of_mixed_targets() -> None:
    others, lambdas = LABELS[::-1], np.array([0.25, 0.75], np.float32)
    found = TrainingLoss(smoothing=0.1).of_batch(
        tf.constant(LOGITS),
        {
            "labels": tf.constant(LABELS),
            "labels2": tf.constant(others.copy()),
            "lambdas": tf.constant(lambdas),
        },
    )
    weights = lambdas[:, None]
    target = weights * LABELS + (1 - weights) * others
    loss = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction=None
    )
    np.testing.assert_allclose(found, loss(target, LOGITS), rtol=1e-6)


def test_mixed_images_keep_the_labels_of_both() -> None:
    element = {
        "images": tf.zeros((3, 2, 2, 3)),
        "labels": tf.constant([[1, 0], [0, 1], [1, 1]], tf.float32),
        "mask": tf.ones(3),
        "weights": tf.constant([0.25, 0.5, 1.0]),
    }
    found = mixed(element)
    assert found["labels"].numpy().tolist() == [[1, 0], [0, 1]]
    assert found["labels2"].numpy().tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(2, marks=pytest.mark.slow),
        4,
    ],
)
def test_the_step_has_the_gradient_of_keras(parts: int) -> None:
    classifier, batch = several(), batch_of(5, 8, padding=99.0)
    plan = freeze_plan(classifier, "all")
    found, sums = pure_step(classifier, plan, batch, accumulate_steps=parts)
    images, labels = batch["images"][:5], batch["labels"][:5]
    model = classifier.model
    with tf.GradientTape() as tape:
        logits = model(images / 127.5 - 1, training=False)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits)
    gradients = tape.gradient(
        loss, [v.value for v in model.trainable_variables]
    )
    for variable, gradient in zip(
        model.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(
            found[variable.path],
            tf.convert_to_tensor(gradient),
            rtol=1e-4,
            atol=1e-6,
        )
    assert sums["loss"] == pytest.approx(5 * float(loss), rel=1e-5)
    assert sums["count"] == 5
    right = ((logits.numpy() > 0) == (labels > 0)).all(axis=1)
    assert sums["correct"] == right.sum()


@pytest.mark.parametrize(
    "options",
    [{"replicas": 2}, {"xla": True}],
    ids=["replicas", "xla"],
)
@pytest.mark.slow
def test_replicas_and_xla_move_the_weights_alike(
    options: dict[str, Any],
) -> None:
    """The second replica has one real example and three of padding."""
    batches = [batch_of(5, 8)]
    one = Trainer().moves(batches)
    other = Trainer(**options).moves(batches)
    for key, move in one.items():
        np.testing.assert_allclose(other[key], move, rtol=1e-4, atol=1e-6)


def test_batches_carry_labels_and_padding_has_none() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], np.uint8)
    samples = Samples(
        ids=("a", "b", "c"),
        labels=labels,
        paths=("a", "b", "c"),
        offsets=np.zeros(3, np.int64),
        lengths=np.full(3, WHOLE_FILE, np.int64),
    )
    dataset = training_batches(
        samples,
        reading=Reading(image_px=8),
        shard=Shard(
            global_batch=4, num_replicas=1, pipeline=0, num_pipelines=1
        ),
        seed=0,
        start_step=0,
        total_steps=1,
        augment=False,
    )
    spec = dataset.element_spec["labels"]
    assert (spec.dtype, spec.shape) == (tf.float32, (4, 3))


def test_mirror_images_average_probabilities() -> None:
    rng = np.random.default_rng(0)
    plain, mirrored = rng.normal(0, 4, (2, 5, 3))
    plain[0] = 60.0
    found = mean_sigmoid_logits(
        tf.constant(plain, tf.float32), tf.constant(mirrored, tf.float32)
    )
    mean = (1 / (1 + np.exp(-plain)) + 1 / (1 + np.exp(-mirrored))) / 2
    np.testing.assert_allclose(tf.sigmoid(found), mean, rtol=1e-5)
    # Both certain: a logarithm of 1 - p would be -inf.
    certain = tf.fill((1, 1), 60.0)
    np.testing.assert_allclose(
        mean_sigmoid_logits(certain, certain), certain, rtol=1e-6
    )
