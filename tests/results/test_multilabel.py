"""mAP, F1 and thresholds against scikit-learn and by trying all."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from trainer.results.multilabel import (
    MultilabelEvaluation,
    sigmoid,
)
from trainer.results.ranking import rank
from trainer.results.thresholds import best_thresholds, thresholds_to_json

NAMES = ("a", "b", "c", "d", "e")


def evaluation(
    targets: np.ndarray,
    logits: np.ndarray,
    thresholds: np.ndarray | None = None,
) -> MultilabelEvaluation:
    targets = targets.astype(np.uint8)
    logits = logits.astype(np.float32)
    if thresholds is None:
        thresholds = best_thresholds(targets, sigmoid(logits))
    return MultilabelEvaluation(
        loss=0.5,
        targets=targets,
        outputs=logits,
        thresholds=thresholds,
        class_names=NAMES[: targets.shape[1]],
    )


def arrays(n: int, ties: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and logits of five classes; the last class has no example."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform(size=(n, 5)) < (0.5, 0.2, 0.05, 0.9, 0.0)
    targets[0, :4] = True
    logits = rng.normal(size=(n, 5)) + targets
    if ties:
        logits = np.round(logits)
    return targets, logits.astype(np.float32)


@pytest.mark.parametrize("n", [1, 7, 200])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_those_of_scikit_learn(n: int, ties: bool) -> None:
    for seed in range(2):
        targets, logits = arrays(n, ties, seed)
        found = evaluation(targets, logits)
        expected = metrics.average_precision_score(
            targets[:, :4], logits[:, :4], average=None
        )
        np.testing.assert_allclose(
            found.average_precisions[:4], expected, rtol=0, atol=1e-12
        )
        assert np.isnan(found.average_precisions[4])
        assert found.map == pytest.approx(expected.mean(), abs=1e-12)
        decided = sigmoid(logits) >= found.thresholds
        options = {"y_true": targets, "y_pred": decided}
        assert found.micro_f1 == pytest.approx(
            metrics.f1_score(**options, average="micro")
        )
        assert found.macro_f1 == pytest.approx(
            metrics.f1_score(**options, average="macro", zero_division=np.nan)
        )
        assert found.exact_match == metrics.accuracy_score(**options)
        for which, score in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
        ):
            np.testing.assert_allclose(
                getattr(found, which),
                score(**options, average=None, zero_division=np.nan),
                err_msg=which,
            )


def test_average_precision_by_hand() -> None:
    targets = np.array([1, 0, 1, 1, 0]) > 0
    # Of the scores 9, 5 and 1: 1 of 1, then 2 of 4, then 3 of 5 are correct.
    scores = np.array([9.0, 5, 5, 1, 5])
    expected = (1 / 1 + 2 / 4 + 3 / 5) / 3
    found = rank(targets[:, None], scores[:, None]).average_precision
    assert found == pytest.approx([expected])


@pytest.mark.parametrize("ties", [False, True])
def test_a_threshold_has_the_highest_f1(ties: bool) -> None:
    targets, logits = arrays(25, ties, seed=1)
    probabilities = sigmoid(logits)
    found = best_thresholds(targets, probabilities)
    for label in range(4):
        scores = probabilities[:, label]
        best = max(
            metrics.f1_score(targets[:, label], scores >= threshold)
            for threshold in scores
        )
        own = metrics.f1_score(targets[:, label], scores >= found[label])
        assert own == pytest.approx(best)
        # In the middle of two probabilities, so that rounding decides nothing.
        assert found[label] == 0.5 or found[label] not in scores
    assert found[4] == 0.5


# Targets, probabilities, and the threshold; by hand.
THRESHOLDS = {
    "no example of the class": ([0, 0], [0.2, 0.9], 0.5),
    "0.5 is among the best": ([0, 1], [0.2, 0.9], 0.5),
    "between two probabilities": ([0, 1, 1], [0.5, 0.625, 0.875], 0.5625),
    "low": ([0, 1, 1], [0.125, 0.25, 0.375], 0.1875),
    # F1 is 1 from 0.125 (half of 0.25) up; the nearest to 0.5 wins.
    "all examples": ([1, 1], [0.25, 0.375], 0.125),
    # F1 is 2/3 with the first alone and with all four; 0.6875 is nearer.
    "of two, the nearer to 0.5": (
        [1, 0, 0, 1],
        [0.75, 0.625, 0.5, 0.0625],
        0.6875,
    ),
    "not finite": ([1, 0], [np.nan, 0.9], 0.5),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_by_hand(name: str) -> None:
    targets, probabilities, expected = THRESHOLDS[name]
    found = best_thresholds(
        np.array(targets, np.uint8)[:, None],
        np.array(probabilities, np.float32)[:, None],
    )
    assert found.dtype == np.float32
    assert found.tolist() == [expected]


def test_stored_thresholds_are_the_same_floats() -> None:
    values = np.random.default_rng(0).uniform(size=5).astype(np.float32)
    stored = thresholds_to_json(values, NAMES)
    again = np.array([stored[name] for name in NAMES], np.float32)
    np.testing.assert_array_equal(again, values)


def test_undefined_values_are_none() -> None:
    targets = np.zeros((3, 2), bool)
    found = evaluation(targets, np.full((3, 2), -9.0)).to_json()
    assert found["test_map"] is None
    assert found["test_map_classes"] == 0
    assert found["test_micro_f1"] is None
    assert found["test_exact_match"] == 1.0
    assert found["test_per_class_average_precision"] == {"a": None, "b": None}
    assert "accuracy" not in " ".join(found)


def test_sigmoids_do_not_overflow() -> None:
    logits = np.array([-1000, -1, 0, 1, 1000], np.float32)
    with np.errstate(over="raise"):
        found = sigmoid(logits)
    expected = [0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
