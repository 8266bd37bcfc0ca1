"""Runs a search: trains the trials one by one, and writes the results."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.config.fields import FIELDS, RESULT, SEARCH
from trainer.config.recipes import BEFORE_RENDERING
from trainer.data.dataset_flag import check_dataset
from trainer.data.validation import source_phrase
from trainer.errors import TrainerError, one_line, reason_of, untrusted
from trainer.learning.stopping import Stopwatch
from trainer.results.commands import command_line
from trainer.run import apart
from trainer.search import chart
from trainer.search.halving import Step, best_of, recommended
from trainer.search.row import DONE, FAILED, HALF_DONE, Row, row_from_json
from trainer.search.serve import TrialRun
from trainer.search.space import Job
from trainer.search.start import SEARCH_JSON, SEARCH_PNG, TRIALS, Plan
from trainer.search.table import (
    budget_lines,
    job_text,
    table_lines,
    verdict_lines,
)
from trainer.storage import files
from trainer.workdir import Workdir
from trainer.workdir.clock import CLOCK, Clock
from trainer.workdir.lock import locked
from trainer.workdir.stored import check_shape

_MODULE = "trainer.search.serve"
_FORMAT = 1
_MINUTE_SECONDS = 60.0
# A stopped trial gets this long to save its checkpoint.
_GRACE_SECONDS = 30.0
_REMEDY = "restore it, or give another --workdir"
# Facts about the data in search.json, which must be the same for all trials.
_DATA = (
    "dataset",
    "fingerprint",
    "train_examples",
    "examples",
    "validation_source",
)
_SHAPE: Mapping[str, Any] = {
    "format": int,
    "flags": dict,
    "fixed": [str],
    "data": dict,
    "seconds": (int, float),
    "rows": [dict],
}


def search(plan: Plan, *, clock: Clock = CLOCK) -> None:
    """Trains trials until the budget is used, then recommends a recipe.

    Writes search.json after every trial, so that the same command continues
    the search. A trial's folder is removed when the trial has ended.

    Args:
      plan: the search; its flags have been checked.
      clock: measures the budget.

    Raises:
      UsageError: the data does not exist, or the runs would be validated on
        the images that they are tested on.
      TrainerError: the workdir holds another search, or the unchanged recipe
        cannot be trained.
      Stopped: a signal was received.
    """
    check_dataset(plan.config.dataset)
    # Leaves the GPUs to the training processes. This fails if this process has
    # already initialized them, for example in a notebook.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    workdir = Workdir(plan.config.workdir or "")
    new = workdir.create()
    try:
        with locked(workdir):
            workdir.remove_partial()
            _Search(plan, workdir, clock).run()
    except BaseException:
        if new:
            workdir.remove_if_empty()
        raise


class _Search:
    """The results of a search, and search.json."""

    def __init__(self, plan: Plan, workdir: Workdir, clock: Clock) -> None:
        """Reads the results of earlier starts."""
        self._plan = plan
        self._workdir = workdir
        self._stopwatch = Stopwatch(clock)
        self._rows: dict[str, Row] = {}
        self._data: dict[str, Any] = {}
        # Whether a trial has printed the line about the data.
        self._shown = False
        assert plan.config.budget is not None
        self._limit_seconds = plan.config.budget * _MINUTE_SECONDS
        stored = workdir.read_json(SEARCH_JSON)
        if stored is not None:
            with untrusted(workdir.file(SEARCH_JSON), _REMEDY):
                check_shape(stored, _SHAPE)
                rows = [row_from_json(values) for values in stored["rows"]]
                missing = set(_DATA) - stored["data"].keys()
                if missing and any(row.done for row in rows):
                    raise ValueError(f"data.{missing.pop()} is missing")
            self._check_same(stored)
            self._rows = {row.key: row for row in rows}
            self._data = dict(stored["data"])
            self._stopwatch.resume(float(stored["seconds"]))

    def run(self) -> None:
        """Runs trials until the budget is used, and prints the results."""
        for row in self._rows.values():
            if row.ended:
                self._remove_folder(row.key)
        while (step := self._next()).job is not None:
            self._run(step.job, required=step.required)
        self._finish(step)

    def _next(self) -> Step:
        return self._plan.halving.next(self._rows, self._fits)

    def _fits(self, job: Job, later: Sequence[Job]) -> bool:
        left = self._limit_seconds - self._stopwatch.seconds
        expected = self._plan.halving.expected_seconds
        # With few epochs, runs of different lengths may have the same key.
        runs = {part.key: part for part in (job, *later)}
        return left > 0 and left >= sum(
            expected(part, self._rows) for part in runs.values()
        )

    def _run(self, job: Job, *, required: bool) -> None:
        """Runs a trial, and writes its row, even after an interruption."""
        print(job_text(job), flush=True)
        before = self._rows.get(job.key)
        spent = before.seconds if before else 0.0
        row = Row(
            key=job.key,
            name=job.trial.name,
            stage=job.trial.stage,
            length=str(job.length),
            values=job.trial.values,
            flags=job.flags,
            state=HALF_DONE,
            seconds=spent,
        )
        began = self._stopwatch.seconds - spent
        try:
            row = self._trained(job, row, required=required)
        except BaseException:
            # On a full disk, this error must not hide the other one.
            with contextlib.suppress(OSError):
                self._add(row, began)
            raise
        self._add(row, began)
        if row.ended:
            self._remove_folder(job.key)
        print(f"  {_outcome(row)}", flush=True)

    def _add(self, row: Row, began: float) -> None:
        """Adds a row with its time since `began` s, and writes all rows."""
        seconds = round(self._stopwatch.seconds - began, 3)
        self._rows[row.key] = dataclasses.replace(row, seconds=seconds)
        self._write()

    def _trained(self, job: Job, row: Row, *, required: bool) -> Row:
        """Trains a trial until it finishes, fails or uses up the budget.

        Returns:
          The row with the state and the results.

        Raises:
          TrainerError: the unchanged recipe failed, or the data has changed.
        """
        run = TrialRun(
            config=dataclasses.replace(
                job.config(), workdir=self._folder(job.key), keep_checkpoints=1
            ),
            shows_data=not self._shown,
        )
        self._shown = True
        left = self._limit_seconds - self._stopwatch.seconds
        try:
            answer = apart.ask(
                _MODULE,
                run,
                limit_seconds=None if required else left,
                grace_seconds=_GRACE_SECONDS,
            )
        except apart.OutOfTimeError:
            return row
        except TrainerError as error:
            if job.key == self._plan.halving.default.key:
                raise
            self._workdir.warn(one_line(f"{row.name}: {error}"))
            return dataclasses.replace(row, state=FAILED, error=str(error))
        self._check_data(answer)
        return dataclasses.replace(
            row,
            state=DONE,
            accuracy=float(answer["accuracy"]),
            loss=float(answer["loss"]),
            examples=int(answer["examples"]),
        )

    def _check_data(self, answer: Mapping[str, Any]) -> None:
        """Checks that all trials use the same data.

        Raises:
          TrainerError: the data has changed since the search began.
        """
        data = {name: answer[name] for name in _DATA}
        if self._data and self._data != data:
            raise TrainerError(
                f"--dataset={self._plan.config.dataset!r}: has changed since"
                " the search began, so its trials cannot be compared; restore"
                " it, or give another --workdir"
            )
        self._data = data

    def _check_same(self, stored: Mapping[str, Any]) -> None:
        """Checks that the search in the workdir has the same flags.

        Raises:
          TrainerError: it has other flags; the message names them.
        """
        own = self._flags()
        # Searches of earlier versions had no such flags.
        before = {**dict.fromkeys(BEFORE_RENDERING), **stored["flags"]}
        found = [
            f"--{name} was {before[name]!r}, is {own[name]!r}"
            for name in sorted(own.keys() & before.keys())
            if own[name] != before[name]
        ]
        fixed = self._plan.space.fixed
        if not found and stored["fixed"] != fixed:
            found = [f"fixed flags were {stored['fixed']}, are {fixed}"]
        if found:
            raise TrainerError(
                f"--workdir={self._workdir.path!r}: holds a search with other"
                f" flags ({'; '.join(found)}); give the same flags, or another"
                " --workdir"
            )

    def _flags(self) -> dict[str, Any]:
        """Returns the flags that all starts of the search must share."""
        return {
            name: getattr(self._plan.config, name)
            for name, field in FIELDS.items()
            if field.metadata["effect"] == RESULT
            and SEARCH in field.metadata["stages"]
        }

    def _folder(self, key: str) -> str:
        return self._workdir.file(TRIALS, key)

    def _remove_folder(self, key: str) -> None:
        """Removes the checkpoints and logs of a trial that has ended."""
        if files.is_dir(self._folder(key)):
            files.remove_tree(self._folder(key))

    def _write(self, **more: Any) -> None:
        self._workdir.write_json(
            SEARCH_JSON,
            {
                "format": _FORMAT,
                "flags": self._flags(),
                "fixed": self._plan.space.fixed,
                "searched": self._plan.space.searched,
                "data": self._data,
                "test_split_used": False,
                "budget_minutes": self._plan.config.budget,
                "seconds": round(self._stopwatch.seconds, 3),
                "rows": [row.to_json() for row in self._rows.values()],
                **more,
            },
        )

    def _finish(self, step: Step) -> None:
        """Writes and prints the results."""
        halving, minutes = self._plan.halving, self._plan.config.budget
        assert minutes is not None
        rows = list(self._rows.values())
        full = halving.full(self._rows)
        default = self._rows[halving.default.key]
        best = best_of(full)
        chosen = recommended(best, default)
        command = command_line(chosen.flags)
        self._write(
            cut_by_budget=[job_text(job) for job in step.cut],
            best=best.key,
            recommended=chosen.key,
            better_than_default=chosen.key != default.key,
            command=command,
        )
        print(
            f"\nvalidation: {source_phrase(self._data['validation_source'])}"
            f" ({self._data['examples']}); the test split is not used"
        )
        for line in table_lines(rows):
            print(line)
        needed = sum(
            halving.expected_seconds(job, self._rows) for job in step.needed
        )
        used = self._stopwatch.seconds
        for line in budget_lines(minutes, used, step.cut, needed):
            print(line)
        for line in verdict_lines(best, default, len(full)):
            print(line)
        self._draw(rows, default)
        print(f"to train it:\n  {command}", flush=True)

    def _draw(self, rows: Sequence[Row], default: Row) -> None:
        """Writes the chart, or warns; search.json has all its numbers."""
        path = self._workdir.file(SEARCH_PNG)
        try:
            done = [row for row in rows if row.done]
            self._workdir.write_bytes(SEARCH_PNG, chart.draw(done, default))
            print(f"chart: {one_line(path)}")
        except Exception as error:
            self._workdir.warn(
                f"{path}: cannot be written ({reason_of(error)})"
            )


def _outcome(row: Row) -> str:
    """Returns one line about how a trial ended."""
    if row.state == HALF_DONE:
        return "stopped by the budget; it resumes with a larger --budget"
    if row.state == FAILED:
        return one_line(f"failed: {row.error}")
    low, high = row.interval
    return (
        f"accuracy {row.accuracy:.3f} [{low:.3f}, {high:.3f}], loss"
        f" {row.loss:.4f}"
    )
