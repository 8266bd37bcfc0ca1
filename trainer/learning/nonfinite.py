"""Detects non-finite losses, and decides whether to roll back."""

from __future__ import annotations

import numpy as np

from trainer.data.order import epoch_order, steps_per_epoch
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.learning.graph_loops import TrainCall

ROLLBACK = "rollback"
_MAX_ROLLBACKS = 3
_NAMED_INPUTS = 5


class NonFiniteError(Exception):
    """Raised if a loss or gradient is not finite, before weights are saved.

    Attributes:
      step: the first absolute step with such a value.
      what: the name and the value of the metric.
    """

    def __init__(self, step: int, what: str) -> None:
        """Creates the error."""
        super().__init__(f"{what} at step {step}")
        self.step, self.what = step, what


def check_finite(call: TrainCall, step: int) -> None:
    """Checks that the metrics of each step of a call are finite.

    Args:
      call: the result of the call.
      step: the absolute step before the call.

    Raises:
      NonFiniteError: a loss or a gradient norm is not finite.
    """
    names = {"loss": "loss", "gradient_norm": "gradient norm"}
    bad = {
        int(np.argmin(np.isfinite(call.sums[key]))): key
        for key in reversed(names)
        if not np.isfinite(call.sums[key]).all()
    }
    if bad:
        first = min(bad)
        value = call.sums[bad[first]][first]
        raise NonFiniteError(step + first + 1, f"{names[bad[first]]} {value}")


def inputs_of_step(
    samples: Samples, *, global_batch: int, seed: int, step: int
) -> str:
    """Returns a text with the first sample ids of a step and how many follow.

    Args:
      samples: the training subset.
      global_batch: number of examples per step.
      seed: the seed of the run, which determines the order.
      step: the step of the stage, from 1.
    """
    steps = steps_per_epoch(len(samples), global_batch)
    epoch, position = divmod(step - 1, steps)
    order = epoch_order(len(samples), seed, epoch).numpy()
    rows = order[position * global_batch :][:global_batch]
    named = ", ".join(samples.ids[row] for row in rows[:_NAMED_INPUTS])
    more = len(rows) - _NAMED_INPUTS
    return named + (f" and {more} more" if more > 0 else "")


class RollbackPolicy:
    """Applies `--on_nonfinite`: stops the run or allows a rollback.

    Attributes:
      enabled: whether rollbacks are on, so that epoch boundaries must be saved.
    """

    def __init__(self, on_nonfinite: str) -> None:
        """Creates the policy.

        Args:
          on_nonfinite: the value of the flag; "rollback" turns rollbacks on.
        """
        self.enabled = on_nonfinite == ROLLBACK

    def rate(self, learning_rate: float, rollbacks: int) -> float:
        """Returns the learning rate, halved once per rollback."""
        return learning_rate * 0.5**rollbacks

    def next_rollback(
        self, stage: str, error: NonFiniteError, inputs: str, *, done: int
    ) -> int:
        """Returns the number of rollbacks, including the one to make now.

        Args:
          stage: the name of the stage.
          error: the error that was detected.
          inputs: the samples of that step, from `inputs_of_step`.
          done: number of rollbacks of the stage so far.

        Raises:
          TrainerError: rollbacks are off, or the stage has had three.
        """
        if self.enabled and done < _MAX_ROLLBACKS:
            return done + 1
        tried = f" after {done} rollbacks" if done else ""
        raise TrainerError(
            f"{stage}: {error.what} at step {error.step}{tried}, on {inputs};"
            " the step is not saved: in another --workdir, lower"
            " --learning_rate, give --clip_global_norm, or try"
            " --on_nonfinite=rollback"
        ) from None
