"""Runs compared on the same test samples: the table, and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.results.columns import padded
from trainer.results.escaping import for_terminal
from trainer.results.statistics import (
    RESAMPLES,
    Difference,
    compare_correct,
    wilson_interval,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ComparedRun:
    """A finished run, with what it got right.

    Attributes:
      workdir: as the user named it.
      stage: the stage that was trained.
      correct: whether each test sample is classified correctly, bool (n,).
    """

    workdir: str
    stage: str
    correct: np.ndarray

    @property
    def accuracy(self) -> float:
        """The accuracy, in [0, 1]."""
        return float(np.mean(self.correct))

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of the accuracy."""
        return wilson_interval(self.accuracy, len(self.correct))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Runs compared with the first of them.

    Attributes:
      runs: two or more, on the same samples in the same order.
      final_split: the name of the split that they are tested on.
      classes: number of classes.
      seed: of the bootstrap.
      differences: of each run but the first, from the first.
    """

    runs: tuple[ComparedRun, ...]
    final_split: str
    classes: int
    seed: int
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as `--output` stores it."""
        first = self.runs[0]
        return {
            "final_split": self.final_split,
            "examples": len(first.correct),
            "classes": self.classes,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "runs": [
                {
                    "workdir": run.workdir,
                    "stage": run.stage,
                    "accuracy": run.accuracy,
                    "accuracy_interval": list(run.interval),
                }
                for run in self.runs
            ],
            "differences": [
                {
                    "first": first.workdir,
                    "second": run.workdir,
                    "difference": found.difference,
                    "difference_interval": list(found.interval),
                    "only_first_correct": found.only_first,
                    "only_second_correct": found.only_second,
                    "mcnemar_p": found.p_value,
                }
                for run, found in zip(
                    self.runs[1:], self.differences, strict=True
                )
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yields the lines of two tables: the runs, and the differences."""
        heading, *names, difference = padded(
            [
                "run",
                *(for_terminal(run.workdir) for run in self.runs),
                "difference from the first",
            ]
        )
        yield (
            f"{self.final_split} split, {len(self.runs[0].correct):,} examples"
            f" of {self.classes} classes"
        )
        yield ""
        yield f"{heading}{'accuracy':>12}{'95 % interval':>20}"
        for name, run in zip(names, self.runs, strict=True):
            low, high = run.interval
            interval = f"[{low:.3f}, {high:.3f}]"
            yield f"{name}{run.accuracy:>12.4f}{interval:>20}"
        yield ""
        yield (
            f"{difference}{'accuracy':>12}"
            f"{'95 % interval':>20}{'only first':>12}{'only this':>12}"
            f"{'McNemar p':>12}"
        )
        for name, found in zip(names[1:], self.differences, strict=True):
            low, high = found.interval
            interval = f"[{low:+.4f}, {high:+.4f}]"
            yield (
                f"{name}{found.difference:>+12.4f}{interval:>20}"
                f"{found.only_first:>12,}{found.only_second:>12,}"
                f"{found.p_value:>12.2g}"
            )
        yield ""
        yield (
            "only first, only this: examples that one run alone classifies"
            " correctly"
        )


def compare_runs(
    runs: tuple[ComparedRun, ...], *, final_split: str, classes: int, seed: int
) -> Comparison:
    """Compares all runs with the first; see `Comparison`."""
    first = runs[0].correct
    return Comparison(
        runs=runs,
        final_split=final_split,
        classes=classes,
        seed=seed,
        differences=tuple(
            compare_correct(first, run.correct, seed=seed) for run in runs[1:]
        ),
    )
