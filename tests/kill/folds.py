"""A run in folds that is killed in a fold, between folds and at its end."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

from tests.kill.attempt import Attempt
from tests.kill.boundaries import BEFORE, Boundary
from tests.kill.command import FINETUNE, run_command
from tests.kill.ending import differences, folds_ending
from tests.kill.runs import Bench, KillTestError, check, in_child
from tests.support.command import arguments
from trainer.workdir import Workdir

_VALUES = {"stage": "finetune", "epochs": 2, "validation": "kfold:3"}


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
        # Only --validation=test reads it.
        del values["validation_fraction"]
        asked = arguments(values)
        return Attempt(lambda name: run_command(asked, name, arm), log)

    def kill_at(where: str, boundary: Boundary) -> None:
        if not check(start(killed, boundary.arm).end(), log):
            raise KillTestError(f"the folds were not killed {where}")
        print(f"killed: {where}", flush=True)

    check(start(whole).end(), log)
    expected = in_child(whole, folds_ending)
    # Phases count in the process, whose first fold is the second here.
    kill_at(
        "between folds 1 and 2",
        Boundary(Workdir, "create", "/fold-2", BEFORE),
    )
    attempt = start(killed)
    attempt.wait_for(FINETUNE, 2)
    if not check(attempt.kill(), log):
        raise KillTestError("the folds were not killed in fold 2")
    print("killed: in fold 2", flush=True)
    kill_at(
        "fold 2 done, its predictions not moved",
        Boundary(os, "replace", r"fold-2/out_of_fold\.csv$", BEFORE),
    )
    kill_at(
        "predictions of all folds, no folds.json",
        Boundary(os, "replace", r"killed/folds\.json$", BEFORE),
    )
    check(start(killed).end(), log)
    return differences(expected, in_child(killed, folds_ending))
