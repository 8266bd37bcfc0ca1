"""Formats the output of a search: plan, trials and recommendation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.results.escaping import for_terminal
from trainer.search.halving import Halving
from trainer.search.row import DONE, FAILED, Row
from trainer.search.space import Job, Space


def values_text(values: Mapping[str, Any]) -> str:
    """Returns the flags that a trial sets, as on a command line."""
    return " ".join(f"--{name}={value}" for name, value in values.items())


def plan_lines(space: Space, minutes: float) -> Iterator[str]:
    """Yields lines about the searched flags and the budget.

    Args:
      space: the search space.
      minutes: the budget.
    """
    for name, phrase in space.searched.items():
        yield f"searched: --{name}: {phrase}"
    if space.fixed:
        yield f"fixed by your flags: --{', --'.join(space.fixed)}"
    yield f"budget: {minutes:g} minutes, summed over all starts"


def job_text(job: Job) -> str:
    """Returns a one-line description of a run."""
    part = "" if job.length == 1 else f", {job.length} of the epochs"
    given = values_text(job.trial.values) or "the unchanged recipe"
    return for_terminal(f"{job.trial.name} ({job.trial.stage}{part}): {given}")


def first_rung_lines(halving: Halving) -> Iterator[str]:
    """Yields the trials of the first rung and of the first bracket."""
    yield "first rung, always completed:"
    for job in halving.first:
        yield f"  {job_text(job)}"
    yield "then, within the budget, starting with:"
    for job in halving.drawn():
        yield f"  {job_text(job)}"


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yields the table of results: longer runs first, then the best first."""
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
    """Yields the recommendation and the reason for it.

    Args:
      best: the most accurate run over all epochs.
      default: the run of the unchanged recipe.
      trials: number of runs over all epochs, including the unchanged recipe.
    """
    low, high = default.interval
    interval = f"[{low:.3f}, {high:.3f}]"
    if best.key == default.key:
        yield (
            f"recommended: the unchanged recipe; none of the other"
            f" {trials - 1} is more accurate"
        )
    elif best.accuracy <= high:
        yield (
            "recommended: the unchanged recipe; the best trial,"
            f" {for_terminal(best.name)}, has accuracy {best.accuracy:.3f},"
            f" within the recipe's 95 % interval {interval}, so the difference"
            " may be chance"
        )
    else:
        yield (
            f"recommended: trial {for_terminal(best.name)}; its accuracy"
            f" {best.accuracy:.3f} is above the 95 % interval of the unchanged"
            f" recipe, {interval}"
        )
        yield (
            f"it is the best of {trials} on the same validation photos; expect"
            " a slightly lower test accuracy"
        )


def budget_lines(
    minutes: float, seconds: float, cut: Sequence[Job], needed: float
) -> Iterator[str]:
    """Yields a line about the used budget and the runs that were left out.

    Args:
      minutes: the budget.
      seconds: the wall time, summed over all starts.
      cut: the runs that were left out.
      needed: the expected time in seconds of the first run in `cut`, and of
        the later runs of its trial.
    """
    used = f"used {seconds / 60:.1f} of {minutes:g} minutes"
    if not cut:
        yield f"{used}; every trial of the search is done"
        return
    names = ", ".join(dict.fromkeys(job.trial.name for job in cut))
    more = max(math.ceil((seconds + needed) / 60), math.floor(minutes) + 1)
    yield (
        f"{used}; left out: trials {for_terminal(names)} and all later ones;"
        f" to continue, run the same command with --budget={more} or more"
    )
