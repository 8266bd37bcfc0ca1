"""How well confidences match accuracies, and temperature scaling.

The confidence of a prediction is its highest probability. Temperature scaling
divides the logits by one number T > 0, which changes confidences but no
prediction (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural
networks", ICML 2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 15
# Samples below which a temperature would say little.
MIN_EXAMPLES = 100
_LOWEST, _HIGHEST = 0.01, 100.0
# The shares of the samples at which the coverage-risk curve is stored.
_COVERAGES = tuple(percent / 100 for percent in range(5, 101, 5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature of a run.

    Attributes:
      temperature: the divisor of the logits; 1 if none was fitted.
      examples: number of samples that it was fitted on; 0 if none was.
      loss_before: their mean cross-entropy, nats; None if none was fitted.
      loss_after: the same with the temperature.
      why_not: why none was fitted; "" if one was.
    """

    temperature: float = 1.0
    examples: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    why_not: str = ""

    @property
    def fitted(self) -> bool:
        """Whether a temperature was fitted."""
        return not self.why_not

    def to_json(self) -> dict[str, Any]:
        """Returns the value of `calibration` in result.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """Returns what `to_json` returned; `stored.SHAPES` has the types.

        A value that is no temperature counts as not fitted.
        """
        temperature = float(values["temperature"])
        if not _LOWEST <= temperature <= _HIGHEST:
            return cls(why_not=f"{temperature:g} is not a temperature")
        return cls(
            temperature=temperature,
            examples=values.get("examples", 0),
            loss_before=values.get("loss_before"),
            loss_after=values.get("loss_after"),
            why_not=values.get("why_not", ""),
        )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Returns the temperature with the lowest mean cross-entropy.

    With b = 1 / T, the cross-entropy is convex in b. Its derivative, the mean
    of E[z] - z_label with E under softmax(b z), therefore has one root, which
    Brent's method finds.

    Args:
      logits: (n, classes), n at least 1, of samples that were not trained on.
      labels: int (n,), the true classes.
    """
    if not np.isfinite(logits).all():
        return Calibration(why_not="not all logits are finite")
    # Imported only here, because importing SciPy takes half a second.
    from scipy.optimize import brentq

    z = logits.astype(np.float64)
    own = z[np.arange(len(labels)), labels]

    def slope(b: float) -> float:
        return float(np.mean(np.sum(probabilities(b * z) * z, axis=1) - own))

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    # Without a wrong prediction the slope is negative everywhere.
    if not slope(low) < 0 < slope(high):
        return Calibration(
            why_not=f"no temperature between {_LOWEST:g} and {_HIGHEST:g} is"
            " the best for the validation images"
        )
    temperature = 1 / float(brentq(slope, low, high, xtol=1e-12))
    return Calibration(
        temperature=temperature,
        examples=len(labels),
        loss_before=cross_entropy(z, labels),
        loss_after=cross_entropy(z / temperature, labels),
    )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns softmax probabilities, float64 (n, classes)."""
    shifted = logits.astype(np.float64)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean cross-entropy of (n, classes) logits, in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(total - shifted[np.arange(len(labels)), labels]))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Confidences beside accuracies, in bins of equal width.

    Attributes:
      counts: int64 (BINS,), samples whose confidence is in the bin. A bin
        contains its upper end, not its lower one.
      confidence: float64 (BINS,), their mean confidence; NaN for an empty bin.
      accuracy: float64 (BINS,), their accuracy; NaN for an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error, in [0, 1].

        The mean of |accuracy - confidence| over the bins, weighted by their
        samples (Naeini, Cooper and Hauskrecht, AAAI 2015).
        """
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float(gaps @ self.counts / self.counts.sum())

    def to_json(self) -> list[dict[str, float]]:
        """Returns the bins that are not empty."""
        return [
            {
                "from": number / BINS,
                "examples": int(self.counts[number]),
                "confidence": float(self.confidence[number]),
                "accuracy": float(self.accuracy[number]),
            }
            for number in np.flatnonzero(self.counts).tolist()
        ]


def reliability(confidence: np.ndarray, correct: np.ndarray) -> Reliability:
    """Returns the bins of n predictions, n at least 1.

    Args:
      confidence: (n,) in [0, 1].
      correct: bool (n,).
    """
    edges = np.linspace(0, 1, BINS + 1)
    numbers = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(numbers, minlength=BINS)
    sums = [
        np.bincount(numbers, weights=values, minlength=BINS)
        for values in (confidence, correct)
    ]
    with np.errstate(invalid="ignore"):
        means = [total / counts for total in sums]
    return Reliability(counts=counts, confidence=means[0], accuracy=means[1])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CoverageRisk:
    """The error rate if only the most confident predictions are used.

    Attributes:
      risk: float64 (n,), the error rate of the k + 1 most confident
        predictions. Predictions of equal confidence share their errors
        equally, so that the order of the samples does not matter.
    """

    risk: np.ndarray

    @property
    def area(self) -> float:
        """The mean risk over all coverages, in [0, 1]; lower is better.

        It is the AURC of Geifman, Uziel and El-Yaniv, ICLR 2019.
        """
        return float(self.risk.mean())

    def to_json(self) -> list[dict[str, float]]:
        """Returns the risk at every twentieth of the samples."""
        total = len(self.risk)
        return [
            {
                "coverage": share,
                "risk": float(self.risk[max(round(share * total), 1) - 1]),
            }
            for share in _COVERAGES
        ]


def coverage_risk(confidence: np.ndarray, correct: np.ndarray) -> CoverageRisk:
    """Returns the curve of n predictions, n at least 1; see `reliability`."""
    order = np.argsort(-confidence, kind="stable")
    _, group, sizes = np.unique(
        -confidence[order], return_inverse=True, return_counts=True
    )
    wrong = np.bincount(group, weights=~correct[order]) / sizes
    return CoverageRisk(
        risk=np.cumsum(wrong[group]) / np.arange(1, len(order) + 1)
    )
