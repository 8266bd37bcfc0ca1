"""The result of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
      workdir: the folder of the run.
      metrics: the content of its result.json.
    """

    workdir: str
    metrics: Mapping[str, Any]

    @property
    def accuracy(self) -> float | None:
        """The accuracy on the test split; None for several labels per image."""
        return self.metrics.get("test_accuracy")

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy."""
        found = self.metrics.get("test_accuracy_interval")
        return None if found is None else (found[0], found[1])
