"""Text output of the metrics that need the logits of every sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.results.escaping import for_terminal


def score_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of averaged metrics and of the calibration.

    Args:
      metrics: under the keys of result.json; those of an earlier version lack
        some or all of these.
    """
    shares = [
        f"{name} {metrics[key]:.4f}"
        for key, name in (
            ("test_macro_precision", "macro precision"),
            ("test_macro_recall", "macro recall"),
            ("test_average_precision", "average precision"),
            ("test_roc_auc", "ROC AUC"),
        )
        if metrics.get(key) is not None
    ]
    if shares:
        yield ", ".join(shares)
    if "test_ece" in metrics:
        yield f"calibration error (ECE) {metrics['test_ece']:.4f}; " + (
            temperature_phrase(metrics)
        )


def temperature_phrase(metrics: Mapping[str, Any]) -> str:
    """Returns the temperature and its ECE, or why there is no temperature."""
    stored = metrics.get("calibration", {})
    if "test_ece_calibrated" not in metrics:
        why = for_terminal(stored.get("why_not", "none is stored"))
        return f"no temperature, because {why}"
    return (
        f"{metrics['test_ece_calibrated']:.4f} at temperature"
        f" {stored['temperature']:.3g}, fitted on {stored['examples']:,}"
        " validation images"
    )
