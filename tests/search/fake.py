"""A search whose trials take no time: their scores are given by hand."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.clock import ManualClock
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run import apart
from trainer.search import chart
from trainer.search.run import search
from trainer.search.serve import TrialRun
from trainer.search.start import Plan, plan_search
from trainer.storage import files

# One hundred validation photos, so that 0.87 is 87 of them.
EXAMPLES = 100
FIELDS: Mapping[str, Any] = {
    "stage": "search",
    "epochs": 8,
    "seed": 3,
    "budget": 60.0,
    "unfreeze": "last:10",
}
# Without --unfreeze, trials of two depths would take different times.
GIVEN = frozenset({*FIELDS, "dataset", "workdir"})
FREE_DEPTH = GIVEN - {"unfreeze"}


class StopError(Exception):
    """Ends a search in a test, as a signal does."""


class Trainer:
    """Answers in place of processes, and moves the clock.

    Attributes:
      runs: the configuration of each run, in order.
      shows_data: whether each run prints the line about the data.
      accuracy: the accuracy of a run; a negative one fails.
      seconds: the time that a run takes.
      stops: number of the run, from 0, in which a signal arrives.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.clock = ManualClock()
        self.runs: list[Config] = []
        self.shows_data: list[bool] = []
        self.limits: list[float | None] = []
        self.accuracy: Callable[[Config], float] = lambda config: 0.5
        self.loss: Callable[[Config], float] = lambda config: 1.0
        self.seconds: Callable[[Config], float] = lambda config: 60.0
        self.stops = -1
        self.fingerprint = "one"
        self._path = path
        self._workdir = path / "run"
        self._done: dict[str, float] = {}

    def ask(
        self,
        module: str,
        run: TrialRun,
        limit_seconds: float | None,
        grace_seconds: float,
    ) -> Mapping[str, Any]:
        """Stands in for `apart.ask`; a run continues where it was stopped."""
        assert module == "trainer.search.serve"
        config = run.config
        assert config.workdir is not None
        self.runs.append(config)
        self.shows_data.append(run.shows_data)
        self.limits.append(limit_seconds)
        files.make_dirs(config.workdir)
        (pathlib.Path(config.workdir) / "checkpoint").write_text("here")
        left = self.seconds(config) - self._done.get(config.workdir, 0.0)
        stopped = len(self.runs) - 1 == self.stops
        late = limit_seconds is not None and limit_seconds < left
        took = left / 2 if stopped else limit_seconds if late else left
        assert took is not None
        self.clock.advance(took)
        self._done[config.workdir] = self._done.get(config.workdir, 0.0) + took
        if stopped:
            raise StopError
        if late:
            raise apart.OutOfTimeError
        accuracy = self.accuracy(config)
        if accuracy < 0:
            raise TrainerError("the loss is not finite")
        return {
            "accuracy": accuracy,
            "loss": self.loss(config),
            "examples": EXAMPLES,
            "train_examples": 900,
            "validation_source": "train",
            "dataset": "photos",
            "fingerprint": self.fingerprint,
        }

    def plan(self, given: frozenset[str] = GIVEN, **values: Any) -> Plan:
        """Returns the plan of a search of this folder."""
        fields = {
            **FIELDS,
            "dataset": str(self._path),
            "workdir": str(self._path / "run"),
            **values,
        }
        return plan_search(Config(**fields), given | values.keys())

    def search(
        self, given: frozenset[str] = GIVEN, **values: Any
    ) -> dict[str, Any]:
        """Searches, and returns search.json."""
        self._workdir = pathlib.Path(values.get("workdir", self._workdir))
        search(self.plan(given, **values), clock=self.clock)
        return self.stored()

    def stored(self) -> dict[str, Any]:
        """Returns search.json of the last search."""
        return json.loads((self._workdir / "search.json").read_text())

    def names(self) -> list[str]:
        """Returns stage, epochs and learning rate of each run, in order."""
        return [
            f"{run.stage} {run.epochs} {run.learning_rate}" for run in self.runs
        ]


@pytest.fixture
def trainer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    found = Trainer(tmp_path)
    monkeypatch.setattr(apart, "ask", found.ask)
    monkeypatch.setattr(chart, "draw", lambda rows, default: b"a chart")
    return found
