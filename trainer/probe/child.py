"""Measures one backbone in a process of its own."""

from __future__ import annotations

import dataclasses

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


def measure_apart(job: Job) -> Row:
    """Measures a backbone in a new process, and waits for it.

    Raises:
      Stopped: a signal arrived; the process is ended first.
      TrainerError: the backbone could not be measured.
    """
    row = row_from_json(apart.ask(_MODULE, job))
    if row is None:
        raise TrainerError(
            "its process sent an incomplete answer; run it again"
        )
    return row
