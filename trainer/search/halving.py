"""Chooses the next trial: successive halving of random recipes.

The first rung is the unchanged recipe and the heads alone. The rest is divided
into brackets. A bracket draws six random recipes. It trains each for a quarter
of the epochs, the best two for half, and the better of these for all (Jamieson
and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", AISTATS 2016). Each run starts from the beginning, because the
learning-rate schedule depends on the number of epochs.

Random search needs no dependency. The seed determines all trials, independently
of the results, so a search can be stopped and extended at any point. A
model-based sampler such as Optuna's is better only after more trials than most
budgets allow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

from trainer.config.fields import FINETUNE
from trainer.search.row import Row
from trainer.search.space import Job, Space, Trial

# The fraction of the epochs and the number of trials of each rung in a bracket.
RUNGS = ((Fraction(1, 4), 6), (Fraction(1, 2), 2), (Fraction(1), 1))
# With more trials, the best one would be mostly chosen by noise.
MAX_BRACKETS = 16

Rows = Mapping[str, Row]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """The next step of a search.

    Attributes:
      job: the next run; None if the search is over.
      required: whether the job runs regardless of the budget.
      cut: runs left out because of the budget.
      needed: the first run in `cut`, and the later runs of the same trial.
    """

    job: Job | None
    required: bool = False
    cut: tuple[Job, ...] = ()
    needed: tuple[Job, ...] = ()


class Halving:
    """The trials of a search, in order."""

    def __init__(self, space: Space) -> None:
        """Draws all trials of the space."""
        self._space = space
        size = RUNGS[0][1]
        drawn = space.draws(size * MAX_BRACKETS)
        self.first = tuple(
            space.job(trial) for trial in (space.default(), *space.heads())
        )
        self._brackets = [
            drawn[i : i + size] for i in range(0, len(drawn), size)
        ]

    @property
    def default(self) -> Job:
        """The run of the unchanged recipe."""
        return self.first[0]

    def drawn(self) -> tuple[Job, ...]:
        """Returns the short runs of the first bracket."""
        length = RUNGS[0][0]
        return tuple(self._space.job(t, length) for t in self._brackets[0])

    def full(self, rows: Rows) -> list[Row]:
        """Returns the finished runs over all epochs, the first rung first."""
        trials = [trial for bracket in self._brackets for trial in bracket]
        jobs = [*self.first, *map(self._space.job, trials)]
        found = [rows[job.key] for job in jobs if job.key in rows]
        return [row for row in found if row.done]

    def next(
        self, rows: Rows, fits: Callable[[Job, Sequence[Job]], bool]
    ) -> Step:
        """Returns the next step.

        Args:
          rows: the results so far, by key.
          fits: returns whether a run and the later runs of the same trial are
            expected to end within the budget.
        """
        for job in self.first:
            if not _ended(job, rows):
                return Step(job=job, required=True)
        for bracket in self._brackets:
            cut: list[Job] = []
            needed: tuple[Job, ...] = ()
            for job, later in self._jobs(bracket, rows):
                if _ended(job, rows):
                    continue
                if fits(job, later):
                    return Step(job=job)
                cut.append(job)
                needed = needed or (job, *later)
            if cut:
                return Step(job=None, cut=tuple(cut), needed=needed)
        return Step(job=None)

    def _jobs(
        self, bracket: Sequence[Trial], rows: Rows
    ) -> Iterator[tuple[Job, Sequence[Job]]]:
        """Yields the runs of a bracket, each with the trial's later runs.

        The runs of each later rung are those of the best trials so far.
        """
        trials = list(bracket)
        for rung, (length, count) in enumerate(RUNGS):
            trials = trials[:count]
            later = [part for part, _ in RUNGS[rung + 1 :]]
            jobs = [self._space.job(trial, length) for trial in trials]
            for job in jobs:
                yield job, [self._space.job(job.trial, x) for x in later]
            done = [
                (rows[job.key].rank, number, job.trial)
                for number, job in enumerate(jobs)
                if job.key in rows and rows[job.key].done
            ]
            trials = [trial for *_, trial in sorted(done, key=lambda x: x[:2])]

    def expected_seconds(self, job: Job, rows: Rows) -> float:
        """Returns an upper estimate of the remaining time of a run.

        It is the longest time of similar runs, less the time already spent on
        this run. Similar runs have the same --unfreeze, or are all fine-tunes
        if there are none. Of these, it uses the runs of the same length, or of
        the next greater length, or else of the greatest length; then the time
        is scaled up in proportion to the length. Because every run has costs
        that do not depend on its length, the last two estimates are too high.
        An interrupted run counts with its time so far, so a run that took
        longer than expected raises the estimates of similar runs.

        Args:
          job: a fine-tuning run.
          rows: the results so far, by key, including the unchanged recipe.
        """
        if _ended(job, rows):
            return 0.0
        runs = [row for row in rows.values() if row.stage == FINETUNE]
        depth = self._space.depth(job.flags)
        alike = [row for row in runs if self._space.depth(row.flags) == depth]
        alike = alike or runs
        parts = {row.part for row in alike}
        longer = [part for part in parts if part >= job.length]
        part = min(longer) if longer else max(parts)
        seconds = max(row.seconds for row in alike if row.part == part)
        seconds *= max(1.0, float(job.length / part))
        spent = rows[job.key].seconds if job.key in rows else 0.0
        return max(0.0, seconds - spent)


def _ended(job: Job, rows: Rows) -> bool:
    return job.key in rows and rows[job.key].ended


def best_of(rows: Sequence[Row]) -> Row:
    """Returns the most accurate run.

    Of equal ones, the one with the lower loss is better, then the first.

    Args:
      rows: the rows to choose from; at least one.
    """
    return min(rows, key=lambda row: row.rank)


def recommended(best: Row, default: Row) -> Row:
    """Returns the best run if it is clearly better, else the unchanged recipe.

    It is clearly better if its accuracy is above the 95 % interval of the
    unchanged recipe.
    """
    return best if best.accuracy > default.interval[1] else default
