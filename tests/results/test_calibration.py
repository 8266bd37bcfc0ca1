"""Temperature, calibration error and coverage-risk curve."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.results.calibration import (
    BINS,
    Calibration,
    coverage_risk,
    fit_temperature,
    probabilities,
    reliability,
)
from trainer.results.scores import score_metrics


def drawn(
    temperature: float, seed: int = 0, count: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits whose true temperature is known, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 5))
    labels = [rng.choice(5, p=row) for row in probabilities(logits)]
    return (logits * temperature).astype(np.float32), np.array(labels)


def mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    own = probabilities(logits)[np.arange(len(labels)), labels]
    return float(-np.log(own).mean())


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_minimises_the_loss_of_scipy(true: float) -> None:
    from scipy.optimize import minimize_scalar

    logits, labels = drawn(true)
    found = fit_temperature(logits, labels)
    best = minimize_scalar(
        lambda log_t: mean_loss(logits / np.exp(log_t), labels),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found.fitted
    assert found.examples == 4000
    assert found.temperature == pytest.approx(np.exp(best.x), rel=1e-5)
    assert found.loss_after == pytest.approx(best.fun, rel=1e-9)
    assert found.loss_before == pytest.approx(mean_loss(logits, labels))
    # The logits were multiplied by this number; the rest is chance.
    assert found.temperature == pytest.approx(true, rel=0.06)


def test_a_temperature_without_an_optimum_is_not_fitted() -> None:
    logits = np.eye(3, dtype=np.float32)
    for labels in (np.arange(3), (np.arange(3) + 1) % 3):
        found = fit_temperature(logits, labels)
        assert (found.fitted, found.temperature) == (False, 1.0)
        assert "no temperature between 0.01 and 100" in found.why_not
    found = fit_temperature(logits * np.nan, np.arange(3))
    assert found.why_not == "not all logits are finite"


def test_calibration_is_read_back_from_json() -> None:
    for given in (
        Calibration(why_not="too few"),
        Calibration(
            temperature=1.5, examples=200, loss_before=0.5, loss_after=0.4
        ),
    ):
        assert Calibration.from_json(given.to_json()) == given
    assert not Calibration.from_json({"temperature": 0.0}).fitted


def test_calibration_error_by_hand() -> None:
    """Two predictions in the bin to 0.6 and two in the last bin."""
    found = reliability(
        np.array([0.55, 0.6, 0.95, 1.0]), np.array([True, False, True, True])
    )
    assert found.counts.tolist() == [0] * 8 + [2] + [0] * 5 + [2]
    assert found.ece == pytest.approx((abs(0.5 - 0.575) + 1 - 0.975) / 2)
    assert found.to_json() == [
        {
            "from": 8 / BINS,
            "examples": 2,
            "confidence": pytest.approx(0.575),
            "accuracy": 0.5,
        },
        {
            "from": 14 / BINS,
            "examples": 2,
            "confidence": pytest.approx(0.975),
            "accuracy": 1.0,
        },
    ]


def test_bins_are_those_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(1)
    confidence = rng.random(500)
    correct = rng.random(500) < confidence**2
    found = reliability(confidence, correct)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=BINS)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, mean)
    shares = found.counts / 500
    assert found.ece == pytest.approx(np.sum(shares * np.abs(accuracy - mean)))


def test_coverage_risk_by_hand_with_a_tie() -> None:
    """The second and third prediction are tied, and one of them is wrong."""
    confidence = np.array([0.5, 0.9, 0.7, 0.7])
    correct = np.array([False, True, False, True])
    found = coverage_risk(confidence, correct)
    risks = [0, 0.5 / 2, 1 / 3, 2 / 4]
    np.testing.assert_allclose(found.risk, risks)
    assert found.area == pytest.approx(np.mean(risks))
    assert [row["risk"] for row in found.to_json()] == pytest.approx(
        np.repeat(risks, [7, 5, 5, 3])
    )
    again = coverage_risk(confidence[::-1], correct[::-1])
    np.testing.assert_array_equal(again.risk, found.risk)


def test_scores_of_logits_of_known_temperature() -> None:
    """The temperature removes nearly all of the calibration error."""
    from sklearn import metrics

    logits, labels = drawn(3.0, seed=2)
    calibration = fit_temperature(*drawn(3.0, seed=3))
    names = tuple("abcde")
    found = score_metrics(labels, logits, names, calibration)
    assert found["test_ece"] > 0.1
    assert found["test_ece_calibrated"] < 0.03
    assert found["test_loss_calibrated"] < mean_loss(logits, labels)
    assert found["test_roc_auc"] == pytest.approx(
        metrics.roc_auc_score(labels, probabilities(logits), multi_class="ovr")
    )
    plain = score_metrics(labels, logits, names, Calibration(why_not="none"))
    assert found.keys() - plain.keys() == {
        "test_loss_calibrated",
        "test_ece_calibrated",
        "test_reliability_calibrated",
    }
    assert score_metrics(labels, logits * np.inf, names, calibration) == {}
