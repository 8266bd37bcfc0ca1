"""Measures each backbone in its own process."""

from __future__ import annotations

import dataclasses
from typing import Self

from trainer.data.training_split import TrainingSplit
from trainer.errors import TrainerError
from trainer.probe.candidates import Candidate
from trainer.probe.row import Row, row_from_json
from trainer.run import apart

_MODULE = "trainer.probe.serve"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The arguments of one process; see `measure.measure`."""

    candidate: Candidate
    split: TrainingSplit
    key: str
    measured: bool


class Processes:
    """Measures backbones one after another, each in its own process.

    While one reads features from the cache, the next already imports
    TensorFlow. A speed is measured without another process beside it.
    """

    def __init__(self, count: int) -> None:
        """Starts the first process.

        Args:
          count: the maximum number of backbones to measure.
        """
        self._left = count
        self._next: apart.Process | None = None
        self._start_next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process that has received no job."""
        if self._next is not None:
            self._next.kill()

    def measure(self, job: Job) -> Row:
        """Measures a backbone in a separate process, and waits for the result.

        Raises:
          Stopped: a signal arrived; the process is ended first.
          TrainerError: the backbone could not be measured.
        """
        process = self._next
        assert process is not None, "more backbones than announced"
        self._next = None
        if job.measured:
            self._start_next()
        try:
            row = row_from_json(process.ask(job))
        finally:
            if not job.measured:
                self._start_next()
        if row is None:
            raise TrainerError(
                "its process sent an incomplete answer; start again"
            )
        return row

    def _start_next(self) -> None:
        if self._left:
            self._left -= 1
            self._next = apart.Process(_MODULE)
