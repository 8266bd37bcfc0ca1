"""Weights of single samples, in the step and in the solver."""

from __future__ import annotations

import types
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from tests.learning.test_class_weights import InferenceMode, overlapping
from tests.support.classifiers import copy_of, tiny_classifier
from tests.support.replicas import strategy_of
from tests.support.steps import Trainer, norm, tiny_batch, values_of
from trainer.data.mixing import mixed
from trainer.learning.exact_head import solve
from trainer.learning.losses import TrainingLoss
from trainer.learning.principal_axes import rotated, standardisation
from trainer.learning.solved_stage import SolvedStage

OF_CLASSES = (0.5, 2.0, 3.0)
OF_ROWS = np.array([0.0, 2.0, 0.25, 1.0, 4.0, 0.5, 0.0, 3.0], np.float32)


def fitted(
    images: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the moves of one step of Keras `fit` with SGD at rate 1."""
    classifier = copy_of(tiny_classifier(), strategy_of(1))
    before = values_of(classifier)
    inputs = keras.Input(images.shape[1:])
    pooled = keras.layers.GlobalAveragePooling2D()(
        InferenceMode(classifier.backbone)(inputs)
    )
    model = keras.Model(inputs, classifier.head(pooled))
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(
        images / 127.5 - 1,
        labels,
        batch_size=len(labels),
        sample_weight=weights,
        verbose=0,
    )
    after = values_of(classifier)
    return {key: after[key] - before[key] for key in before}


@pytest.mark.parametrize(
    ("count", "of_classes", "options"),
    [
        pytest.param(8, (), {}, marks=pytest.mark.slow),
        (5, OF_CLASSES, {"accumulate_steps": 2}),
        pytest.param(5, (), {"replicas": 2}, marks=pytest.mark.slow),
        pytest.param(8, OF_CLASSES, {"replicas": 4}, marks=pytest.mark.slow),
        pytest.param(5, OF_CLASSES, {"xla": True}, marks=pytest.mark.slow),
    ],
    ids=["plain", "both_in_parts", "2_replicas", "4_replicas", "xla"],
)
def test_a_step_moves_as_that_of_fit(
    count: int, of_classes: tuple[float, ...], options: dict[str, Any]
) -> None:
    batch = tiny_batch(count, 8, padding=77)
    labels = batch["labels"][:count]
    weights = OF_ROWS[:count]
    if of_classes:
        weights = weights * np.array(of_classes, np.float32)[labels]
    expected = fitted(batch["images"][:count], labels, weights)
    batch["importance"] = OF_ROWS
    trainer = Trainer(
        unfreeze="all", loss=TrainingLoss(class_weights=of_classes), **options
    )
    moves = trainer.moves([batch])
    apart = norm(moves[key] - expected[key] for key in moves)
    assert apart <= 1e-5 * norm(expected.values())


def test_each_label_of_a_mixed_image_has_the_weight_of_its_row() -> None:
    logits = tf.constant([[0.0, 0.0], [np.log(3.0), 0.0]])
    found = TrainingLoss().of_batch(
        logits,
        {
            "labels": tf.constant([0, 0]),
            "labels2": tf.constant([1, 1]),
            "lambdas": tf.constant([0.25, 0.5]),
            "importance": tf.constant([2.0, 0.0]),
            "importance2": tf.constant([1.0, 3.0]),
        },
    )
    # 0.25 * 2 ln 2 + 0.75 * 1 ln 2, and 0 + 0.5 * 3 ln 4.
    expected = [1.25 * np.log(2), 1.5 * np.log(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_mixed_batch_has_the_weights_of_the_partners() -> None:
    found = mixed(
        {
            "images": tf.zeros((4, 2, 2, 3)),
            "labels": tf.constant([0, 1, 2, 0]),
            "mask": tf.constant([1.0, 1.0, 0.0, 1.0]),
            "weights": tf.constant([0.5, 0.5, 0.5, 0.5]),
            "importance": tf.constant([2.0, 3.0, 0.0, 5.0]),
        }
    )
    # The last example of the batch is mixed with the extra row.
    assert found["importance"].numpy().tolist() == [2, 3, 0]
    assert found["importance2"].numpy().tolist() == [3, 5, 0]


@pytest.mark.parametrize("l2", [0.01, 0.3])
def test_a_solved_head_is_that_of_scikit_learn(l2: float) -> None:
    features, labels = overlapping()
    weights = np.random.default_rng(3).choice([0, 0.25, 1, 4], len(labels))
    by = standardisation(features)
    axes = rotated(features, by)
    found = solve(
        axes.coordinates,
        labels,
        3,
        l2=l2,
        variances=axes.variances,
        importance=weights,
    )
    # Its C multiplies the sum of the losses, not their mean.
    other = LogisticRegression(
        C=1 / (l2 * len(labels)), tol=1e-10, max_iter=10_000
    ).fit(by.apply(features), labels, sample_weight=weights)
    kernel = axes.axes @ found.kernel
    size = np.abs(other.coef_).max()
    np.testing.assert_allclose(kernel, other.coef_.T, atol=1e-4 * size)


@pytest.mark.parametrize(
    ("weights", "of_classes", "expected"),
    [
        (None, (), None),
        ([1.0, 4.0], (), [1, 4, 1, 4]),
        (None, (2.0, 3.0), [3, 2, 3, 2]),
        ([1.0, 4.0], (2.0, 3.0), [3, 8, 3, 8]),
    ],
    ids=["none", "rows", "classes", "both"],
)
def test_views_of_a_sample_have_its_weight(
    weights: Any, of_classes: tuple[float, ...], expected: Any
) -> None:
    train = types.SimpleNamespace(
        labels=np.array([1, 0]),
        weights=None if weights is None else np.array(weights),
    )
    job = types.SimpleNamespace(
        train=train,
        loss=TrainingLoss(class_weights=of_classes),
        spec=types.SimpleNamespace(views=1),
    )
    stage = SolvedStage.__new__(SolvedStage)
    stage._job = job
    found = stage._importance()
    assert (None if found is None else found.tolist()) == expected
