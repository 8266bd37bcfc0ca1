"""What the loop of a stage takes and returns."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from trainer.train.audit import Audit


class Evaluated(Protocol):
    """The result of a validation."""

    @property
    def loss(self) -> float:
        """The mean loss over all examples."""

    @property
    def accuracy(self) -> float:
        """The accuracy over all examples, 0 to 1."""


class Progress(Protocol):
    """Shows on the terminal what the loop does."""

    def epoch(self, stage: str, epoch: int, epochs: int, done: int) -> None:
        """Begins an epoch of which `done` examples are trained on."""

    def steps(self, examples: int, loss: float, accuracy: float) -> None:
        """Adds examples; loss and accuracy are the epoch's so far."""

    def end_epoch(self, line: str) -> None:
        """Ends the epoch with a line of metrics."""

    def rows(self, what: str, done: int, total: int) -> None:
        """Shows how many of `total` rows are computed for the cache."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """The result of a finished stage.

    Attributes:
      step: absolute, of its end.
      best: step, loss and accuracy of the best validation.
      audit: of its variables.
      seconds: time spent in training steps.
    """

    step: int
    best: dict[str, float]
    audit: Audit
    seconds: float
