"""The step on mixed images and with dropout, compared with NumPy and Keras."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import TINY_PX, tiny_classifier
from tests.support.params import slow
from tests.support.steps import Trainer, norm, pure_step, tiny_batch
from trainer.learning.losses import TrainingLoss, main_labels
from trainer.learning.steps import frozen_variables, make_train_step
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import partition_classifier

WEIGHTS, SMOOTHING = (0.5, 2.0, 3.0), 0.1
LOSS = TrainingLoss(smoothing=SMOOTHING, class_weights=WEIGHTS)
LOGITS = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [0.0, 0.0, 0.0]])


def mixed_batch(
    count: int, size: int, *, channels: int = 0, padding: float = 0.0
) -> dict[str, np.ndarray]:
    """Returns `tiny_batch` with second labels, weights and dropout."""
    rng = np.random.default_rng(1)
    batch = tiny_batch(count, size, padding=padding)
    batch["labels2"] = np.roll(batch["labels"], -1).astype(np.int32)
    batch["lambdas"] = rng.uniform(0, 1, size).astype(np.float32)
    if channels:
        kept = rng.uniform(size=(size, channels)) >= 0.25
        batch["dropout"] = (kept / 0.75).astype(np.float32)
    return batch


def soft_targets(labels: Any, smoothing: float, weights: Any) -> np.ndarray:
    """Returns smoothed one-hot targets times the weight of their class."""
    target = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    return target * np.array(weights)[labels][:, None]


@pytest.mark.parametrize(
    ("loss", "smoothing", "weights"),
    [
        (TrainingLoss(), 0.0, (1, 1, 1)),
        (TrainingLoss(smoothing=SMOOTHING), SMOOTHING, (1, 1, 1)),
        (TrainingLoss(class_weights=WEIGHTS), 0.0, WEIGHTS),
        (LOSS, SMOOTHING, WEIGHTS),
    ],
    ids=["plain", "smoothed", "weighted", "both"],
)
def test_a_mixed_loss_is_that_of_mixed_targets(loss, smoothing, weights):
    labels, labels2 = np.array([0, 1, 2]), np.array([1, 2, 2])
    lambdas = np.array([0.25, 1.0, 0.5])
    target = lambdas[:, None] * soft_targets(labels, smoothing, weights)
    target += (1 - lambdas)[:, None] * soft_targets(labels2, smoothing, weights)
    log_softmax = LOGITS - np.log(np.exp(LOGITS).sum(axis=1))[:, None]
    found = loss.of_batch(
        tf.constant(LOGITS, tf.float32),
        {
            "labels": tf.constant(labels, tf.int32),
            "labels2": tf.constant(labels2, tf.int32),
            "lambdas": tf.constant(lambdas, tf.float32),
        },
    )
    expected = -(target * log_softmax).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if loss == TrainingLoss():
        # By hand: ln(e^1 + e^2 + e^-1) = 2.34901, minus 0.25 + 0.75 * 2; and
        # ln 3 for three equal logits.
        np.testing.assert_allclose(found[0], 2.34901 - 1.75, atol=1e-5)
        np.testing.assert_allclose(found[2], np.log(3), atol=1e-6)


def test_accuracy_counts_the_label_with_the_larger_weight():
    batch = {
        "labels": tf.constant([0, 0, 0]),
        "labels2": tf.constant([1, 1, 1]),
        "lambdas": tf.constant([0.6, 0.5, 0.4]),
    }
    assert main_labels(batch).numpy().tolist() == [0, 0, 1]
    assert main_labels({"labels": batch["labels"]}) is batch["labels"]


def keras_gradients(classifier, batch) -> tuple[dict, float, int]:
    """Returns gradients by path, mean loss and correct, by Keras's layers."""
    count = int(batch["mask"].sum())
    model = keras.Model(classifier.model.inputs, classifier.head.input)
    kernel, bias = classifier.head.weights
    row = {name: value[:count] for name, value in batch.items()}
    target = row["lambdas"][:, None] * soft_targets(
        row["labels"], SMOOTHING, WEIGHTS
    ) + (1 - row["lambdas"])[:, None] * soft_targets(
        row["labels2"], SMOOTHING, WEIGHTS
    )
    with tf.GradientTape() as tape:
        pooled = model(row["images"] / 127.5 - 1, training=False)
        if "dropout" in row:
            pooled *= row["dropout"]
        logits = pooled @ kernel.value + bias.value
        logs = tf.nn.log_softmax(logits)
        loss = -tf.reduce_mean(tf.reduce_sum(target * logs, axis=1))
    variables = classifier.model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    main = np.where(row["lambdas"] >= 0.5, row["labels"], row["labels2"])
    correct = int((logits.numpy().argmax(axis=1) == main).sum())
    arrays = [tf.convert_to_tensor(g).numpy() for g in gradients]
    paths = [v.path for v in variables]
    return dict(zip(paths, arrays, strict=True)), float(loss), correct


@pytest.mark.parametrize(
    ("cut", "parts", "unfreeze"),
    [
        (True, 2, "last:2"),
        *slow((True, 1, "none"), (False, 1, "last:2"), (False, 2, "all")),
    ],
)
def test_a_step_has_the_gradients_of_keras(cut, parts, unfreeze):
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, unfreeze)
    channels = classifier.head.kernel.shape[0]
    batch = mixed_batch(5, 8, channels=channels, padding=77)
    expected, loss, correct = keras_gradients(classifier, batch)
    partition = None
    if cut:
        partition = partition_classifier(classifier, plan, fold_batch_norm=True)
        if partition.cut:
            images = tf.constant(batch.pop("images"))
            constants = partition.trunk_constants()
            found = partition.trunk(constants, images)
            batch["features"] = found[0].numpy()
    gradients, sums = step_of(
        classifier, plan, batch, partition=partition, accumulate_steps=parts
    )
    assert sums["count"] == 5
    assert sums["correct"] == correct
    assert sums["loss"] / 5 == pytest.approx(loss, rel=1e-5)
    for key in plan.trainable:
        difference = norm([gradients[key] - expected[key]])
        assert difference <= 2e-5 * norm([expected[key]]) + 1e-7


def step_of(classifier, plan, batch, *, partition, **options):
    """Returns what `pure_step` does; features go in as a tuple."""
    if partition is None:
        return pure_step(classifier, plan, batch, loss=LOSS, **options)
    step = make_train_step(
        classifier,
        plan,
        kernel="projective",
        partition=partition,
        loss=LOSS,
        **options,
    )
    tensors = {name: tf.constant(value) for name, value in batch.items()}
    if "features" in tensors:
        tensors["features"] = (tensors["features"],)
    output = tf.function(step)(
        [classifier.variables[k].value for k in plan.trainable],
        [v.value for v in frozen_variables(classifier, plan, partition)],
        tensors,
        tf.constant(batch["mask"].sum(), tf.float32),
    )
    assert not output.updates
    gradients = [g.numpy() for g in output.gradients]
    sums = {name: float(value) for name, value in output.sums.items()}
    return dict(zip(plan.trainable, gradients, strict=True)), sums


def five_of_eight() -> dict[str, np.ndarray]:
    channels = tiny_classifier().head.kernel.shape[0]
    return mixed_batch(5, 8, channels=channels, padding=77)


@functools.cache
def moves_of_one() -> dict[str, np.ndarray]:
    return Trainer(loss=LOSS).moves([five_of_eight()])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"replicas": 2, "accumulate_steps": 2},
        {"xla": True, "replicas": 4},
    ],
    ids=str,
)
def test_replicas_parts_and_xla_move_alike(options):
    """With five of eight rows, the last of four replicas has only padding."""
    other = Trainer(loss=LOSS, **options).moves([five_of_eight()])
    for key, move in moves_of_one().items():
        assert norm([move - other[key]]) <= 2e-5 * norm([move]) + 1e-7


def test_dropout_of_ones_changes_no_bit():
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "all")
    plain = tiny_batch(4, 4)
    channels = classifier.head.kernel.shape[0]
    ones = {**plain, "dropout": np.ones((4, channels), np.float32)}
    one, sums = pure_step(classifier, plan, plain)
    two, same = pure_step(classifier, plan, ones)
    assert sums == same
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
    assert plain["images"].shape[1] == TINY_PX
