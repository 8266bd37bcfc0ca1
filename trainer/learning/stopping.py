"""Decides whether a stage ends before its last epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.distribute.processes import Processes
from trainer.learning.state import StageState
from trainer.workdir.clock import CLOCK, Clock

PATIENCE, TIME_LIMIT = "patience", "time_limit"
_MINUTE_SECONDS = 60.0


class Stopwatch:
    """Measures the training time of a run, over its stages and its starts.

    It includes steps, validations and checkpoints. It excludes what a start
    needs before its first stage, and the time between the last checkpoint and a
    kill.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        """Starts the stopwatch at 0 s.

        Args:
          clock: the clock to use.
        """
        self._clock = clock
        self._began = clock.now()
        self._before = 0.0

    def resume(self, seconds: float) -> None:
        """Adds the time of earlier starts, in seconds."""
        self._before = seconds

    @property
    def seconds(self) -> float:
        """The training time of the run so far, in seconds."""
        return self._before + self._clock.now() - self._began


class StopPolicy:
    """Applies `--patience` and `--time_limit`."""

    def __init__(
        self, config: Config, stopwatch: Stopwatch, processes: Processes
    ) -> None:
        """Creates the policy.

        Args:
          config: the configuration of the run.
          stopwatch: measures the time of the run.
          processes: agree on the chief's time.
        """
        self._patience = config.patience
        self._limit_minutes = config.time_limit
        self._stopwatch = stopwatch
        self._processes = processes

    def after_call(self, state: StageState) -> bool:
        """Records in the state that the time is over, after a call of steps.

        With several processes and a limit this is a collective.

        Returns:
          Whether the stage ends here.
        """
        if not state.stopped and self._time_is_over():
            state.stopped = TIME_LIMIT
        return bool(state.stopped)

    def after_validation(self, state: StageState, epoch_steps: int) -> None:
        """Records in the state that the stage ends after this validation.

        Args:
          state: its best validation is up to date.
          epoch_steps: the steps of an epoch.
        """
        assert state.best is not None
        waited_steps = state.step - state.best["step"]
        if (
            not state.stopped
            and self._patience is not None
            and waited_steps >= self._patience * epoch_steps
        ):
            state.stopped = PATIENCE
        self.after_call(state)

    def note_time(self, state: StageState) -> None:
        """Sets the state's time of the run, before a checkpoint."""
        if self._limit_minutes is not None:
            state.run_seconds = self._stopwatch.seconds

    def resume(self, state: StageState) -> None:
        """Continues with the time in a restored state."""
        self._stopwatch.resume(state.run_seconds)

    def _time_is_over(self) -> bool:
        if self._limit_minutes is None:
            return False
        over = self._stopwatch.seconds >= self._limit_minutes * _MINUTE_SECONDS
        return bool(self._processes.chief_value(float(over)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """The early end of a stage: its position and its reason.

    Attributes:
      reason: patience or time_limit.
      epoch: the epoch in which it ended, from 1.
      mid_epoch: whether steps of that epoch were left.
      epochs: the epochs that the stage was to train.
      limit: epochs of patience, or minutes.
    """

    reason: str
    epoch: int
    mid_epoch: bool
    epochs: int
    limit: float


def early_stop(
    state: StageState, config: Config, *, epochs: int, epoch_steps: int
) -> EarlyStop | None:
    """Returns how a finished stage ended early; None if it did not.

    Args:
      state: the state at the end of the stage.
      config: the configuration of the run.
      epochs: the epochs that the stage was to train.
      epoch_steps: the steps of an epoch.
    """
    done, rest = divmod(state.step - state.start_step, epoch_steps)
    limit = config.patience if state.stopped == PATIENCE else config.time_limit
    if not state.stopped or limit is None or done >= epochs:
        return None
    return EarlyStop(
        reason=state.stopped,
        epoch=done + bool(rest),
        mid_epoch=bool(rest),
        epochs=epochs,
        limit=limit,
    )


def stop_text(stop: Mapping[str, Any]) -> str:
    """Returns the sentence about an `EarlyStop`, from its JSON object."""
    where = "in" if stop["mid_epoch"] else "after"
    limit = stop["limit"]
    ending = "" if limit == 1 else "s"
    why = (
        f"no better validation for {limit} epoch{ending}"
        if stop["reason"] == PATIENCE
        else f"the time limit of {limit:g} minute{ending}"
    )
    return f"stopped {where} epoch {stop['epoch']} of {stop['epochs']}: {why}"
