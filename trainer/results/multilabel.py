"""The metrics of an evaluation in which an image may have several labels."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from trainer.config.fields import MULTILABEL
from trainer.results.ranking import rank
from trainer.results.statistics import known_mean, share_of
from trainer.results.thresholds import thresholds_to_json


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultilabelEvaluation:
    """Metrics over all examples of a split.

    Attributes:
      loss: mean over examples of the mean binary cross-entropy over the
        classes, nats.
      targets: uint8 (examples, classes), 1 for each class of an example.
      outputs: the logits, float32 (examples, classes), in the order of the
        samples.
      thresholds: float32 (classes,), the probability from which on an example
        counts as one of the class.
      class_names: in the order of the logits.
    """

    loss: float
    targets: np.ndarray
    outputs: np.ndarray
    thresholds: np.ndarray
    class_names: tuple[str, ...]

    @property
    def examples(self) -> int:
        """Number of examples evaluated."""
        return len(self.targets)

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """The sigmoids of the logits, float32 (examples, classes)."""
        return sigmoid(self.outputs)

    @functools.cached_property
    def decisions(self) -> np.ndarray:
        """The predicted labels, bool (examples, classes)."""
        return self.probabilities >= self.thresholds

    @property
    def support(self) -> np.ndarray:
        """Number of examples of each class, int64 (classes,)."""
        return self.targets.sum(axis=0, dtype=np.int64)

    @functools.cached_property
    def average_precisions(self) -> np.ndarray:
        """The average precision of each class; see `ranking.rank`.

        float64 (classes,) in [0, 1]; NaN for a class without examples, or with
        a logit that is not finite.
        """
        found = rank(self.targets > 0, self.outputs).average_precision
        finite = np.isfinite(self.outputs).all(axis=0)
        return np.where(finite, found, np.nan)

    @property
    def map(self) -> float:
        """The mean average precision of the classes that have examples.

        In [0, 1]; NaN if none has. Equals the mean of scikit-learn's
        `average_precision_score` over these classes.
        """
        return known_mean(self.average_precisions)

    @property
    def precision(self) -> np.ndarray:
        """Share of each class's predictions that are correct; NaN for none."""
        return share_of(self._hits, self._predicted)

    @property
    def recall(self) -> np.ndarray:
        """Share of each class's examples that are found; NaN for none."""
        return share_of(self._hits, self.support)

    @property
    def f1(self) -> np.ndarray:
        """2 TP / (2 TP + FP + FN) of each class; NaN if that is 0 / 0."""
        return share_of(2 * self._hits, self.support + self._predicted)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have examples or predictions."""
        return known_mean(self.f1)

    @property
    def micro_f1(self) -> float:
        """The F1 of all pairs of example and class; NaN if that is 0 / 0."""
        hits = 2 * self._hits.sum()
        total = self.support.sum() + self._predicted.sum()
        return float(hits / total) if total else float("nan")

    @property
    def exact_match(self) -> float:
        """Share of the examples whose labels are all correct."""
        return float((self.decisions == (self.targets > 0)).all(axis=1).mean())

    @property
    def _hits(self) -> np.ndarray:
        """Number of correct predictions of each class, int64 (classes,)."""
        return (self.decisions & (self.targets > 0)).sum(axis=0)

    @property
    def _predicted(self) -> np.ndarray:
        """Number of predictions of each class, int64 (classes,)."""
        return self.decisions.sum(axis=0)

    def headline(self) -> dict[str, float]:
        """Returns the metrics of the final line of metrics.jsonl.

        Those that are not defined are missing.
        """
        values = {
            "loss": self.loss,
            "map": self.map,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "exact_match": self.exact_match,
        }
        return {k: v for k, v in values.items() if not np.isnan(v)}

    def to_json(self) -> dict[str, Any]:
        """Returns the metrics under the keys of result.json.

        A value that is not defined is None.
        """
        return {
            "task": MULTILABEL,
            "test_examples": self.examples,
            "test_loss": self.loss,
            "test_map": _or_none(self.map),
            "test_map_classes": int((self.support > 0).sum()),
            "test_micro_f1": _or_none(self.micro_f1),
            "test_macro_f1": _or_none(self.macro_f1),
            "test_exact_match": self.exact_match,
            "test_per_class_average_precision": self._by_class(
                self.average_precisions
            ),
            "test_per_class_support": dict(
                zip(self.class_names, self.support.tolist(), strict=True)
            ),
            "test_per_class_precision": self._by_class(self.precision),
            "test_per_class_recall": self._by_class(self.recall),
            "test_per_class_f1": self._by_class(self.f1),
            "thresholds": thresholds_to_json(self.thresholds, self.class_names),
        }

    def _by_class(self, values: np.ndarray) -> dict[str, float | None]:
        """Returns the values by class name, None for NaN."""
        return {
            name: _or_none(value)
            for name, value in zip(self.class_names, values, strict=True)
        }


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the float32 sigmoids of float32 logits, computed in float64."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    shares = np.where(logits < 0, small, 1.0) / (1.0 + small)
    return shares.astype(np.float32)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
