"""One run of a search, as stored in search.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from trainer.results.statistics import Interval, wilson_interval
from trainer.workdir.stored import check_shape

# States of a run. A half-done run was stopped by the budget or a signal, and
# resumes from its checkpoint.
DONE, FAILED, HALF_DONE = "done", "failed", "half-done"
_NUMBER = (int, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A run and its result.

    Attributes:
      key: see `Job`.
      name: the name of the trial.
      stage: feature_extract or finetune.
      length: the fraction of the epochs, such as 1/4.
      values: the flags that the trial sets in addition to the given ones.
      flags: all flags of the run.
      state: DONE, FAILED or HALF_DONE.
      seconds: the wall time, summed over all starts of the run.
      error: the error message if the run failed, else "".
      accuracy: the accuracy of the best validation, in [0, 1].
      loss: the loss of the same validation, nats.
      examples: number of validation samples.
    """

    key: str
    name: str
    stage: str
    length: str
    values: Mapping[str, Any]
    flags: Mapping[str, Any]
    state: str
    seconds: float
    error: str = ""
    accuracy: float = 0.0
    loss: float = 0.0
    examples: int = 0

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.accuracy, self.examples)

    @property
    def ended(self) -> bool:
        """Whether the run is finished or has failed, and is not repeated."""
        return self.state != HALF_DONE

    @property
    def done(self) -> bool:
        """Whether the run has a result."""
        return self.state == DONE

    @property
    def part(self) -> Fraction:
        """The fraction of the epochs as a number."""
        return Fraction(self.length)

    @property
    def rank(self) -> tuple[float, float]:
        """A sort key: higher accuracy first, then lower loss."""
        return -self.accuracy, self.loss

    def to_json(self) -> dict[str, Any]:
        """Returns the row as JSON-serializable values."""
        low, high = self.interval
        interval = [low, high] if self.done else None
        return {**dataclasses.asdict(self), "interval": interval}


_SHAPE: Mapping[str, Any] = {
    "key": str,
    "name": str,
    "stage": str,
    "length": str,
    "values": dict,
    "flags": dict,
    "state": str,
    "seconds": _NUMBER,
    "error": str,
    "accuracy": _NUMBER,
    "loss": _NUMBER,
    "examples": int,
}


def row_from_json(values: Any) -> Row:
    """Returns a row of search.json.

    Raises:
      ValueError: a value is missing or has the wrong type.
    """
    check_shape(values, _SHAPE)
    row = Row(**{name: values[name] for name in _SHAPE})
    if row.state not in (DONE, FAILED, HALF_DONE):
        raise ValueError(f"state is {row.state!r}")
    if row.part <= 0:
        raise ValueError(f"length is {row.length!r}")
    wilson_interval(row.accuracy, row.examples)
    return row
