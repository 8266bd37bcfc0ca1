"""The metrics of an evaluation that need the logits of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.results.calibration import (
    Calibration,
    coverage_risk,
    cross_entropy,
    probabilities,
    reliability,
)
from trainer.results.ranking import rank


def score_metrics(
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    calibration: Calibration,
) -> dict[str, Any]:
    """Returns metrics under the keys of result.json.

    A value that is not defined is None. The keys that end in `_calibrated`
    are of the logits divided by the temperature, and are missing if none was
    fitted.

    Args:
      labels: int (n,), the true classes, n at least 1.
      logits: float32 (n, classes); if one is not finite, the result is empty.
      class_names: in the order of the logits.
      calibration: the temperature of the run.
    """
    if not np.isfinite(logits).all():
        return {}
    chances = probabilities(logits)
    ranking = rank(labels[:, None] == np.arange(len(class_names)), chances)
    confidence = chances.max(axis=1)
    correct = logits.argmax(axis=1) == labels
    bins = reliability(confidence, correct)
    curve = coverage_risk(confidence, correct)

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        found = map(_known, values.tolist())
        return dict(zip(class_names, found, strict=True))

    metrics = {
        "test_average_precision": _known(ranking.mean_average_precision),
        "test_roc_auc": _known(ranking.mean_roc_auc),
        "test_per_class_average_precision": by_class(ranking.average_precision),
        "test_per_class_roc_auc": by_class(ranking.roc_auc),
        "test_ece": bins.ece,
        "test_reliability": bins.to_json(),
        "test_aurc": curve.area,
        "test_coverage_risk": curve.to_json(),
    }
    if calibration.fitted:
        scaled = logits.astype(np.float64) / calibration.temperature
        bins = reliability(probabilities(scaled).max(axis=1), correct)
        metrics |= {
            "test_loss_calibrated": cross_entropy(scaled, labels),
            "test_ece_calibrated": bins.ece,
            "test_reliability_calibrated": bins.to_json(),
        }
    return metrics


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
