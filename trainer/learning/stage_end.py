"""Ends a stage: audits it, and restores the weights of its best validation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from trainer.errors import TrainerError
from trainer.learning.audit import audit, check_audit, digest
from trainer.learning.checkpoint_files import (
    BEST,
    LAST,
    checkpoint_step,
    find_checkpoints,
)
from trainer.learning.restoring import restore_variables
from trainer.learning.stage import StageJob, StageOutcome
from trainer.learning.state import StageState
from trainer.learning.stopping import early_stop, stop_text
from trainer.learning.updates import StageUpdates

_REMEDY = (
    "restore its files, or start in another --workdir with"
    " --init_from={workdir!r} --init_from_checkpoint=last"
)


def end_stage(
    job: StageJob,
    state: StageState,
    updates: StageUpdates,
    epoch_steps: int,
    save_whole: Callable[[], None],
) -> StageOutcome:
    """Audits the last weights, and leaves those of the result.

    Args:
      job: the stage; its classifier has the last weights.
      state: the state after the last step.
      updates: how its steps updated the variables.
      epoch_steps: the steps of an epoch.
      save_whole: saves the last checkpoint with all weights.

    Raises:
      TrainerError: the audit failed, after everything was saved; or the best
        checkpoint cannot be restored.
    """
    found = audit(
        job.plan,
        state.digests,
        job.classifier.variables,
        state.gradient_max,
        move=functools.partial(
            updates.move, done=state.step - state.start_step
        ),
    )
    for warning in found.warnings:
        job.workdir.warn(f"{state.stage}: {warning}")
    if found.problems:
        # Else a resumed run would restore the stored frozen weights, and pass.
        save_whole()
    check_audit(found, stage=state.stage, path=job.workdir.path)
    if updates.averages is not None:
        # They are the result of the stage.
        updates.averages.exchange()
    stopped = early_stop(
        state, job.config, epochs=job.spec.epochs, epoch_steps=epoch_steps
    )
    if stopped:
        text = stop_text(dataclasses.asdict(stopped))
        print(f"{state.stage}: {text}", flush=True)
    assert state.best is not None
    result_step = state.step
    if job.restore_best:
        result_step = int(state.best["step"])
        if result_step != state.step:
            _restore_best(job, state, result_step)
    return StageOutcome(
        step=state.step,
        best=state.best,
        monitor=state.monitor,
        audit=found,
        seconds=state.seconds,
        stopped=stopped,
        result_checkpoint=BEST if job.restore_best else LAST,
        result_step=result_step,
    )


def _restore_best(job: StageJob, state: StageState, step: int) -> None:
    """Restores the weights of a step, and checks the frozen ones.

    Raises:
      TrainerError: the checkpoint is missing, cannot be read, or has other
        frozen weights than the stage.
    """
    remedy = _REMEDY.format(workdir=job.workdir.path)
    paths = find_checkpoints(job.workdir, state.stage, BEST)
    path = next((p for p in paths if checkpoint_step(p) == step), None)
    if path is None:
        raise TrainerError(
            f"{job.workdir.checkpoints(state.stage, BEST)}: its checkpoint of"
            f" step {step} is missing or truncated; {remedy}"
        )
    variables = job.classifier.variables
    restore_variables(path, variables, remedy=remedy)
    for key in job.plan.frozen:
        if digest(variables[key]) != state.digests[key]:
            raise TrainerError(
                f"{path}: {key} is frozen, and differs from its value at the"
                f" start of {state.stage}; {remedy}"
            )
