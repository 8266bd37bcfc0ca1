"""Runs the command line in a child, which reports its phases."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tests.support.tiny import tiny_backbone
from trainer.command import flags, program
from trainer.config.fields import FEATURE_EXTRACT
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.loop import StageLoop
from trainer.learning.solved_stage import SolvedStage
from trainer.run import (
    folds,  # noqa: F401, imported once for all forks
    training,  # noqa: F401
)
from trainer.study import run as study  # noqa: F401

START_UP, HEAD, BETWEEN = "start_up", "head", "between_stages"
FINETUNE, VALIDATION = "finetune", "validation"
CHECKPOINT, FINAL = "checkpoint", "final_evaluation"
PHASES = (START_UP, HEAD, BETWEEN, FINETUNE, VALIDATION, CHECKPOINT, FINAL)


def run_command(
    arguments: Sequence[str],
    name: Callable[[str], None],
    arm: Callable[[], None] | None = None,
) -> None:
    """Runs `python main.py ARGUMENTS`; does not return.

    Args:
      arguments: the arguments of the command line.
      name: called with the name of each phase as it begins.
      arm: called before the run, for example to plan a kill.
    """
    keras.applications.MobileNetV2 = tiny_backbone
    _name_phases(name)
    if arm is not None:
        arm()
    sys.argv = ["main.py", *arguments]
    flags.run(program.main)


def wrap(
    owner: Any,
    attribute: str,
    around: Callable[..., Any],
) -> None:
    """Replaces a function by `around(real function, *arguments)`."""
    real = getattr(owner, attribute)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(real, *args, **kwargs)

    setattr(owner, attribute, wrapped)


def _name_phases(name: Callable[[str], None]) -> None:
    """Wraps the trainer's methods so that they report their phases."""
    phases = [START_UP]
    name(START_UP)

    def begin(phase: str) -> None:
        phases[:] = [phase]
        name(phase)

    def inside(phase: str) -> Callable[..., Any]:
        def around(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            phases.append(phase)
            name(phase)
            result = real(*args, **kwargs)
            phases.pop()
            name(phases[-1])
            return result

        return around

    def train(real: Callable[..., Any], self: StageLoop, end: int) -> None:
        head = self._job.spec.stage == FEATURE_EXTRACT
        begin(HEAD if head else FINETUNE)
        real(self, end)

    def run(real: Callable[..., Any], self: StageLoop) -> Any:
        outcome = real(self)
        last = self._job.spec.stage == self._job.config.last_stage
        begin(FINAL if last else BETWEEN)
        return outcome

    wrap(StageLoop, "_train", train)
    wrap(SolvedStage, "_train", train)
    wrap(StageLoop, "run", run)
    wrap(StageLoop, "_validated", inside(VALIDATION))
    wrap(StageCheckpoints, "save", inside(CHECKPOINT))
