"""Starts processes that measure one backbone each, and waits for them."""

from __future__ import annotations

import dataclasses
from typing import Self

from trainer.data.training_split import TrainingSplit
from trainer.errors import TrainerError
from trainer.probe.candidates import Candidate
from trainer.probe.row import Row, row_from_json
from trainer.run.apart import Process

_MODULE = "trainer.probe.serve"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The arguments of one process; see `measure.measure`."""

    candidate: Candidate
    split: TrainingSplit
    key: str


class Processes:
    """Measures backbones one after another, each in a process of its own.

    While one measures, the next already imports TensorFlow.
    """

    def __init__(self, count: int) -> None:
        """Starts the first process.

        Args:
          count: number of backbones to measure, at most.
        """
        self._left = count
        self._next: Process | None = None
        self._start_next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process that has nothing to measure."""
        if self._next is not None:
            self._next.kill()

    def measure(self, job: Job) -> Row:
        """Measures a backbone in a new process, and waits for it.

        Raises:
          Stopped: a signal arrived; the process is ended first.
          TrainerError: the backbone could not be measured.
        """
        process = self._next
        assert process is not None, "more backbones than counted"
        self._next = None
        try:
            self._start_next()
            row = row_from_json(process.ask(job))
        finally:
            process.end()
        if row is None:
            raise TrainerError(
                "its process sent an incomplete answer; run it again"
            )
        return row

    def _start_next(self) -> None:
        if self._left:
            self._left -= 1
            self._next = Process(_MODULE)
