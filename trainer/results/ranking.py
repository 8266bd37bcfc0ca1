"""Metrics of how a classifier ranks the samples of each class.

They compare the scores of one class over all samples, so they need no
threshold. They equal those of scikit-learn, which is not imported: Keras
imports it at every start where it is installed.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.results.statistics import known_mean


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """How well scores rank the samples of each class.

    Attributes:
      average_precision: float64 (classes,) in [0, 1]; NaN for a class without
        samples.
      roc_auc: float64 (classes,) in [0, 1], one class against all others; NaN
        for a class with no sample or with all of them.
    """

    average_precision: np.ndarray
    roc_auc: np.ndarray

    @property
    def mean_average_precision(self) -> float:
        """The mean over the classes that have samples; NaN if none has."""
        return known_mean(self.average_precision)

    @property
    def mean_roc_auc(self) -> float:
        """The mean over the classes that have a value; NaN if none has."""
        return known_mean(self.roc_auc)


def rank(positive: np.ndarray, scores: np.ndarray) -> Ranking:
    """Returns the ranking metrics of each class.

    Args:
      positive: bool (n, classes), whether a sample has a class; a sample may
        have several or none.
      scores: (n, classes), higher for a more probable class, without NaN.
    """
    found = [
        _of_class(column, score)
        for column, score in zip(positive.T, scores.T, strict=True)
    ]
    columns = np.array(found, np.float64).reshape(-1, 2)
    return Ranking(average_precision=columns[:, 0], roc_auc=columns[:, 1])


def _of_class(positive: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Returns average precision and ROC AUC of one class.

    Average precision is the sum over thresholds n of (R_n - R_n-1) P_n, with
    recall R and precision P. Samples with equal scores share a threshold.
    """
    total, hits = len(positive), int(positive.sum())
    if not hits:
        return np.nan, np.nan
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    chosen = np.flatnonzero(last) + 1
    true = np.cumsum(positive[order])[last]
    recall = np.append(0.0, true / hits)
    precision = float(np.sum(np.diff(recall) * true / chosen))
    if hits == total:
        return precision, np.nan
    wrong = np.append(0.0, (chosen - true) / (total - hits))
    # By the trapezoidal rule, in which equal scores count half.
    area = np.sum(np.diff(wrong) * (recall[1:] + recall[:-1]) / 2)
    return precision, float(area)
