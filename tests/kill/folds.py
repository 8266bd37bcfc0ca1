"""A run in folds that is killed in a fold and after its last one."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

from tests.kill.attempt import Attempt
from tests.kill.boundaries import AFTER, BEFORE, Boundary
from tests.kill.command import run_command
from tests.kill.ending import differences, folds_ending
from tests.kill.runs import Bench, KillTestError, check, in_child
from tests.support.command import arguments
from trainer.workdir import MetricsFile

_VALUES = {"stage": "feature_extract", "epochs": 2, "validation": "kfold:2"}
# Flags of the other parts that this run does not read.
_UNREAD = (
    "validation_fraction",
    "head_epochs",
    "head_learning_rate",
    "unfreeze",
)


def kill_folds(bench: Bench) -> list[str]:
    """Returns how a run in folds that is killed differs from one that is not.

    Raises:
      KillTestError: it was not killed at one of the places, or failed.
    """
    whole, killed = bench.root / "whole", bench.root / "killed"
    log = bench.root / "folds.log"

    def start(
        workdir: pathlib.Path, arm: Callable[[], None] | None = None
    ) -> Attempt:
        values = bench.values(workdir, 0) | _VALUES
        for name in _UNREAD:
            del values[name]
        asked = arguments(values)
        return Attempt(lambda name: run_command(asked, name, arm), log)

    def kill_at(where: str, boundary: Boundary) -> None:
        if not check(start(killed, boundary.arm).end(), log):
            raise KillTestError(f"the folds were not killed {where}")
        print(f"killed: {where}", flush=True)

    check(start(whole).end(), log)
    expected = in_child(whole, folds_ending)
    kill_at(
        "in fold 2",
        Boundary(MetricsFile, "append", r'fold-2/.*"steps"', AFTER),
    )
    kill_at(
        "fold 2 done, its predictions not moved",
        Boundary(os, "replace", r"fold-2/out_of_fold\.csv$", BEFORE),
    )
    check(start(killed).end(), log)
    return differences(expected, in_child(killed, folds_ending))
