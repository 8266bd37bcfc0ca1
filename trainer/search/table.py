"""What a search prints: its plan, its trials, and its recommendation."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.results.escaping import for_terminal
from trainer.search.halving import Halving
from trainer.search.row import DONE, FAILED, Row
from trainer.search.space import Job, Space


def command_line(flags: Mapping[str, Any]) -> str:
    """Returns the command with these flags, for a shell."""
    words = (shlex.quote(f"--{name}={x}") for name, x in flags.items())
    return for_terminal(" ".join(("python main.py", *words)))


def values_text(values: Mapping[str, Any]) -> str:
    """Returns the flags that a trial sets, as typed; "" if it sets none."""
    return " ".join(f"--{name}={value}" for name, value in values.items())


def plan_lines(space: Space, minutes: float) -> Iterator[str]:
    """Yields lines about what is searched.

    Args:
      space: of the search.
      minutes: the budget.
    """
    for name, phrase in space.searched.items():
        yield f"searched: --{name}: {phrase}"
    if space.fixed:
        yield f"fixed, because given: --{', --'.join(space.fixed)}"
    yield f"budget: {minutes:g} minutes, over all starts"


def job_text(job: Job) -> str:
    """Returns one line for a run that begins or is planned."""
    part = "" if job.length == 1 else f", {job.length} of the epochs"
    given = values_text(job.trial.values) or "the recipe as it is"
    return for_terminal(f"{job.trial.name} ({job.trial.stage}{part}): {given}")


def first_rung_lines(halving: Halving) -> Iterator[str]:
    """Yields the trials that run whatever the budget is, and the next ones."""
    yield "first rung, which always runs:"
    for job in halving.first:
        yield f"  {job_text(job)}"
    yield "then, as the budget allows, beginning with:"
    for job in halving.drawn():
        yield f"  {job_text(job)}"


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yields the table: longer runs first, and of these the best first."""
    done = sorted(
        (row for row in rows if row.state == DONE),
        key=lambda row: (-row.part, row.rank),
    )
    head = ("trial", "epochs", "accuracy", "95 % interval", "loss", "s")
    cells = [(*head, "flags"), *map(_cells, done)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first = line[0].ljust(widths[0])
        middle = [
            text.rjust(width)
            for text, width in zip(line[1:-1], widths[1:-1], strict=True)
        ]
        yield "  ".join((first, *middle, line[-1])).rstrip()
    for row in rows:
        if row.state == FAILED:
            yield for_terminal(f"{row.name}: failed: {row.error}")


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    return (
        for_terminal(row.name),
        "all" if row.part == 1 else row.length,
        f"{row.accuracy:.3f}",
        f"[{low:.3f}, {high:.3f}]",
        f"{row.loss:.4f}",
        f"{row.seconds:.0f}",
        for_terminal(values_text(row.values)),
    )


def verdict_lines(best: Row, default: Row, trials: int) -> Iterator[str]:
    """Yields what the results say of the best trial and of the recipe.

    Args:
      best: the most accurate run of all epochs.
      default: the run of the recipe as it is.
      trials: number of runs of all epochs, the recipe among them.
    """
    low, high = default.interval
    interval = f"[{low:.3f}, {high:.3f}]"
    if best.key == default.key:
        yield (
            f"recommended: the recipe as it is; none of the other"
            f" {trials - 1} is more accurate"
        )
    elif best.accuracy <= high:
        yield (
            f"recommended: the recipe as it is; the accuracy of the best trial,"
            f" {for_terminal(best.name)}, is {best.accuracy:.3f}, within the"
            f" recipe's 95 % interval {interval}, so these photos cannot tell"
            " them apart"
        )
    else:
        yield (
            f"recommended: trial {for_terminal(best.name)}; its accuracy"
            f" {best.accuracy:.3f} is above the 95 % interval of the recipe as"
            f" it is, {interval}"
        )
        yield (
            f"it is the best of {trials} on the same validation photos, so a"
            " test will find it a little less accurate"
        )


def budget_lines(
    minutes: float, seconds: float, cut: Sequence[Job], needed: float
) -> Iterator[str]:
    """Yields how much of the budget was used, and what it did not allow.

    Args:
      minutes: the budget.
      seconds: wall time of all starts.
      cut: the runs that it did not allow.
      needed: expected time of the first of these and of the later runs of its
        trial, in seconds.
    """
    used = f"used {seconds / 60:.1f} of {minutes:g} minutes"
    if not cut:
        yield f"{used}; every trial of the search is done"
        return
    names = ", ".join(dict.fromkeys(job.trial.name for job in cut))
    more = max(math.ceil((seconds + needed) / 60), math.floor(minutes) + 1)
    yield (
        f"{used}; left out by the budget: trials {for_terminal(names)} and all"
        f" later ones; the same command with --budget={more} or more continues"
    )
