"""The ordinary command line in a child, which names the phase it is in."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

import flags
import main
from tests.support.tiny import tiny_backbone
from trainer.config.fields import FEATURE_EXTRACT
from trainer.run import training  # noqa: F401, so that no fork has to import it
from trainer.study import run as study  # noqa: F401
from trainer.train.checkpoints import StageCheckpoints
from trainer.train.loop import StageLoop
from trainer.train.solved_stage import SolvedStage

START_UP, HEAD, BETWEEN = "start_up", "head", "between_stages"
FINETUNE, VALIDATION = "finetune", "validation"
CHECKPOINT, FINAL = "checkpoint", "final_evaluation"
PHASES = (START_UP, HEAD, BETWEEN, FINETUNE, VALIDATION, CHECKPOINT, FINAL)


def run_command(
    arguments: Sequence[str],
    name: Callable[[str], None],
    arm: Callable[[], None] | None = None,
) -> None:
    """`python main.py ARGUMENTS`; does not return.

    Args:
      arguments: of the command line.
      name: told each phase as it begins.
      arm: what else is to be changed in this process beforehand.
    """
    keras.applications.MobileNetV2 = tiny_backbone
    _name_phases(name)
    if arm is not None:
        arm()
    sys.argv = ["main.py", *arguments]
    flags.run(main.main)


def wrap(
    owner: Any,
    attribute: str,
    around: Callable[..., Any],
) -> None:
    """Replaces a function by `around(real, *its arguments)`."""
    real = getattr(owner, attribute)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(real, *args, **kwargs)

    setattr(owner, attribute, wrapped)


def _name_phases(name: Callable[[str], None]) -> None:
    """Wraps what the phases consist of; the trainer knows nothing of it."""
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
        last = self._job.spec.stage == self._job.config.stage
        begin(FINAL if last else BETWEEN)
        return outcome

    wrap(StageLoop, "_train", train)
    wrap(SolvedStage, "_train", train)
    wrap(StageLoop, "run", run)
    wrap(StageLoop, "_validated", inside(VALIDATION))
    wrap(StageCheckpoints, "save", inside(CHECKPOINT))
