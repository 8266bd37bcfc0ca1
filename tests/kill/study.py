"""Kills a study between two models, in a model, and in its report."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tests.kill.attempt import Attempt, Ended
from tests.kill.boundaries import BEFORE, Boundary
from tests.kill.command import FINETUNE, run_command
from tests.kill.ending import differences, study_ending
from tests.kill.runs import Bench, KillTestError, check, in_child
from tests.support.command import arguments
from trainer.study import run as study

# Model 3 starts from model 2, which is trained too.
_VALUES = {
    "stage": "study",
    "models": "3",
    "epochs": 2,
    "head_epochs": 1,
    # A study cannot fine-tune in parts.
    "unfreeze": "last:5",
}


def kill_a_study(bench: Bench) -> list[str]:
    """Kills a study three times, and compares it with an uninterrupted one.

    Returns:
      The differences.

    Raises:
      KillTestError: an attempt failed, or ended before its kill.
    """
    whole, killed = bench.root / "whole", bench.root / "killed"
    log = bench.root / "study.log"

    def start(
        workdir: pathlib.Path, arm: Callable[[], None] | None = None
    ) -> Attempt:
        values = bench.values(workdir, 0) | _VALUES
        asked = arguments(values)
        return Attempt(lambda name: run_command(asked, name, arm), log)

    check(start(whole).end(), log)
    expected = in_child(whole, study_ending)

    def kill_at(boundary: Boundary, where: str) -> None:
        _must_be_killed(start(killed, boundary.arm).end(), log, where)

    kill_at(
        Boundary(study, "_announce", "finetune, 10 %", BEFORE),
        "between models 2 and 3",
    )
    # The phase begins again after a validation and after a checkpoint.
    attempt = start(killed)
    attempt.wait_for(FINETUNE, 3)
    _must_be_killed(attempt.kill(), log, "in model 3, after an epoch")
    kill_at(
        Boundary(study, "write_html", r"report\.html", BEFORE),
        "study.md written, no report.html",
    )
    check(start(killed).end(), log)
    if not (killed / "report.html").is_file():
        return ["report.html is missing"]
    return differences(expected, in_child(killed, study_ending))


def _must_be_killed(ended: Ended, log: pathlib.Path, where: str) -> None:
    if not check(ended, log):
        raise KillTestError(f"the study was complete before the kill {where}")
    print(f"killed: {where}", flush=True)
