"""Class weights: their file, and the loss in the step and in the solver."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from tests.support.classifiers import copy_of, tiny_classifier
from tests.support.replicas import strategy_of
from tests.support.steps import Trainer, norm, tiny_batch, values_of
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import TrainerError, UsageError
from trainer.learning.class_weights import class_weights
from trainer.learning.exact_head import solve
from trainer.learning.head_path import cross_validate, folds_of
from trainer.learning.losses import TrainingLoss
from trainer.learning.principal_axes import rotated, standardisation

NAMES = ("pizza", "ramen", "sushi")
WEIGHTS = (0.5, 2.0, 3.0)


def samples_of(*labels: int) -> Samples:
    count = len(labels)
    return Samples(
        ids=tuple(map(str, range(count))),
        labels=np.array(labels, np.int32),
        paths=("",) * count,
        offsets=np.zeros(count, np.int64),
        lengths=np.full(count, WHOLE_FILE, np.int64),
    )


def test_balanced_weights_are_those_of_scikit_learn():
    labels = [0, 0, 0, 0, 1, 2, 2]
    found = class_weights("balanced", samples_of(*labels), NAMES)
    expected = compute_class_weight(
        "balanced", classes=np.arange(3), y=np.array(labels)
    )
    np.testing.assert_allclose(found, expected)
    # 7 / (3 * 4), 7 / (3 * 1), 7 / (3 * 2).
    np.testing.assert_allclose(found, [7 / 12, 7 / 3, 7 / 6])
    assert class_weights("none", samples_of(*labels), NAMES) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"pizza": 1, "ramen": 2}', "has no weight for class 'sushi'; the"),
        (
            '{"pizza": 1, "ramen": 2, "sushi": 1, "soup": 1}',
            "names class 'soup', which the data has not; the classes are",
        ),
        ('{"pizza": 0}', "the weight of class 'pizza' is 0; legal are"),
        ('{"pizza": -1}', "is -1; legal are numbers from 1e-06 to 1e+06; giv"),
        # A float32 would round them to 0 and to infinity.
        ('{"pizza": 1e-50}', "is 1e-50; legal"),
        ('{"pizza": 1e50}', "is 1e+50; legal"),
        (f'{{"pizza": {10**400}}}', "is 1000"),
        ('{"pizza": false}', "is False; legal"),
        ('{"pizza": NaN}', "is nan; legal"),
        ('{"pizza": Infinity}', "is inf; legal"),
        ('{"pizza": true}', "is True; legal"),
        ('{"pizza": "1"}', "is '1'; legal"),
        ("[1, 2, 3]", "cannot be read (not an object); give a JSON object"),
        ("{", "cannot be read"),
        ("\xff", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, said):
    path = tmp_path / "weights.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises((UsageError, TrainerError)) as error:
        class_weights(str(path), samples_of(0, 1, 2), NAMES)
    assert str(error.value).startswith(f"--class_weights={str(path)!r}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_gives_weights_in_the_order_of_the_labels(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"sushi": 3, "pizza": 0.5, "ramen": 2}))
    found = class_weights(str(path), samples_of(0, 1, 2), NAMES)
    assert found == WEIGHTS


class InferenceMode(keras.layers.Layer):
    """Runs a model in inference mode, whatever `fit` asks for."""

    def __init__(self, base: keras.Model) -> None:
        super().__init__()
        self.base = base

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.base(inputs, training=False)


def fitted(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
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
        class_weight=dict(enumerate(WEIGHTS)),
        verbose=0,
    )
    after = values_of(classifier)
    return {key: after[key] - before[key] for key in before}


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (5, {}),
        pytest.param(5, {"replicas": 2}, marks=pytest.mark.slow),
        pytest.param(5, {"replicas": 4}, marks=pytest.mark.slow),
        pytest.param(8, {"accumulate_steps": 2}, marks=pytest.mark.slow),
        pytest.param(5, {"xla": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_step_moves_as_that_of_fit(count, options):
    batch = tiny_batch(count, 8, padding=77)
    expected = fitted(batch["images"][:count], batch["labels"][:count])
    loss = TrainingLoss(class_weights=WEIGHTS)
    trainer = Trainer(unfreeze="all", loss=loss, **options)
    moves = trainer.moves([batch])
    apart = norm(moves[key] - expected[key] for key in moves)
    assert apart <= 1e-5 * norm(expected.values())
    plain = Trainer(unfreeze="all").moves([batch])
    assert norm(moves[k] - plain[k] for k in moves) > 0.1 * norm(plain.values())


def overlapping() -> tuple[np.ndarray, np.ndarray]:
    """Unbalanced classes of 10, 20 and 50 samples with 6 features."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [10, 20, 50])
    features = rng.normal(0, 1, (3, 6))[labels] + rng.normal(0, 1.5, (80, 6))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("l2", [0.01, 0.3])
def test_a_solved_head_is_that_of_scikit_learn(l2):
    features, labels = overlapping()
    by = standardisation(features)
    axes = rotated(features, by)
    found = solve(
        axes.coordinates,
        labels,
        3,
        l2=l2,
        variances=axes.variances,
        importance=np.array(WEIGHTS)[labels],
    )
    assert found.problem(len(labels)) == ""
    # Its C multiplies the sum of the losses, not their mean.
    other = LogisticRegression(
        C=1 / (l2 * len(labels)),
        class_weight=dict(enumerate(WEIGHTS)),
        tol=1e-10,
        max_iter=10_000,
    ).fit(by.apply(features), labels)
    kernel = axes.axes @ found.kernel
    size = np.abs(other.coef_).max()
    np.testing.assert_allclose(kernel, other.coef_.T, atol=1e-4 * size)
    np.testing.assert_allclose(
        found.bias - found.bias.mean(),
        other.intercept_ - other.intercept_.mean(),
        atol=1e-4 * size,
    )
    p = other.predict_proba(by.apply(features))
    own = -np.log(p[np.arange(80), labels]) * np.array(WEIGHTS)[labels]
    assert found.loss == pytest.approx(own.mean(), rel=1e-5)


def test_weights_of_one_change_nothing_on_the_path():
    features, labels = overlapping()
    axes = rotated(features, standardisation(features))
    folds = folds_of([str(i) for i in range(80)], labels, seed=0)

    def path(importance):
        return cross_validate(
            axes,
            labels,
            3,
            folds,
            importance=importance,
            l2_values=(1.0, 0.1),
        )

    plain = path(None)
    for one, other in zip(plain, path(np.ones(80)), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
    doubled = path(np.full(80, 2.0))
    # Twice the loss of half the regularisation.
    halved = cross_validate(axes, labels, 3, folds, l2_values=(0.5, 0.05))
    for one, other in zip(halved, doubled, strict=True):
        assert 2 * one.loss == pytest.approx(other.loss, rel=1e-3)
