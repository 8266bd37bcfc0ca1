"""The metrics of an evaluation, computed from its confusion matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer.results.statistics import known_mean, share_of, wilson_interval


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Metrics over all examples of a split.

    Attributes:
      loss: mean categorical cross-entropy, nats.
      accuracy: in [0, 1].
      top5_accuracy: in [0, 1]; None for five classes or fewer.
      confusion: int64 (classes, classes), rows true, columns predicted.
      class_names: the names of rows and columns.
      outputs: the logits, float32 (examples, classes), in the order of the
        samples; None unless they were requested.
    """

    loss: float
    accuracy: float
    top5_accuracy: float | None
    confusion: np.ndarray
    class_names: tuple[str, ...]
    outputs: np.ndarray | None = None

    @property
    def examples(self) -> int:
        """Number of examples evaluated."""
        return int(self.confusion.sum())

    @property
    def support(self) -> np.ndarray:
        """Number of examples of each class, int64 (classes,)."""
        return self.confusion.sum(axis=1)

    @property
    def precision(self) -> np.ndarray:
        """Share of each class's predictions that are correct.

        float64 (classes,) in [0, 1]; NaN for a class that is never predicted.
        """
        return share_of(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """Share of each class's examples that are classified correctly.

        float64 (classes,) in [0, 1]; NaN for a class without examples. This is
        the accuracy of the class.
        """
        return share_of(np.diag(self.confusion), self.support)

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall of each class.

        float64 (classes,) in [0, 1]: 2 TP / (2 TP + FP + FN). So it is 0 for a
        class with examples that is never predicted, and for a class without
        examples that is predicted. It is NaN for a class with neither.
        """
        predicted = self.confusion.sum(axis=0)
        return share_of(2 * np.diag(self.confusion), self.support + predicted)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have examples or predictions.

        In [0, 1]; NaN without examples. Equals
        `sklearn.metrics.f1_score(average="macro")`.
        """
        return known_mean(self.f1)

    @property
    def averages(self) -> dict[str, float]:
        """Precision, recall and F1, averaged over the classes.

        A "macro" value is the mean over the classes that have examples or
        predictions. A "weighted" value weighs each class by its examples. A
        precision without predictions and a recall without examples count as 0,
        as in scikit-learn. All are in [0, 1]; NaN without examples.
        """
        counts = self.confusion.sum(axis=0) + self.support > 0
        found = {}
        for name in ("precision", "recall", "f1"):
            values = np.nan_to_num(getattr(self, name))
            found[f"macro_{name}"] = known_mean(values[counts])
            found[f"weighted_{name}"] = float(
                share_of(
                    np.array([values @ self.support]),
                    np.array([self.examples]),
                )[0]
            )
        return found

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have examples.

        In [0, 1]; NaN without examples. Equals
        `sklearn.metrics.balanced_accuracy_score`.
        """
        return known_mean(self.recall)

    def headline(self) -> dict[str, float]:
        """Returns the metrics of the final line of metrics.jsonl."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    def per_class(self) -> dict[str, float | None]:
        """Returns the accuracy of each class; None if it has no examples."""
        return self._by_class(self.recall)

    def to_json(self) -> dict[str, Any]:
        """Returns the metrics under the keys of result.json.

        Every accuracy has its `wilson_interval`. A value that is not defined
        is None: all of a class without examples except the precision, and the
        precision of a class that is never predicted.
        """
        values: dict[str, Any] = {
            "test_examples": self.examples,
            "test_loss": self.loss,
            "test_accuracy": self.accuracy,
            "test_accuracy_interval": self._interval(self.accuracy),
            "test_balanced_accuracy": self.balanced_accuracy,
            **{f"test_{k}": v for k, v in self.averages.items()},
            "test_per_class_accuracy": self.per_class(),
            "test_per_class_interval": {
                name: None
                if share is None
                else list(wilson_interval(share, int(total)))
                for (name, share), total in zip(
                    self.per_class().items(), self.support, strict=True
                )
            },
            "test_per_class_support": dict(
                zip(self.class_names, self.support.tolist(), strict=True)
            ),
            "test_per_class_precision": self._by_class(self.precision),
            "test_per_class_f1": self._by_class(self.f1),
            "test_confusion": self.confusion.tolist(),
        }
        if self.top5_accuracy is not None:
            values["test_top5_accuracy"] = self.top5_accuracy
            values["test_top5_accuracy_interval"] = self._interval(
                self.top5_accuracy
            )
        return values

    def _interval(self, share: float) -> list[float]:
        return list(wilson_interval(share, self.examples))

    def _by_class(self, values: np.ndarray) -> dict[str, float | None]:
        """Returns the values by class name, None for NaN."""
        return {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(self.class_names, values, strict=True)
        }
