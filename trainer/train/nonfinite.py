"""A loss that is no number any more: at which step, and on which inputs."""

from __future__ import annotations

import numpy as np

from trainer.data.pipeline import epoch_order, steps_per_epoch
from trainer.data.samples import Samples
from trainer.train.graph_loops import TrainCall

_NAMED_INPUTS = 5


class NonFiniteError(Exception):
    """Training went wrong; what is in memory must not be saved.

    Attributes:
      step: absolute, of the first step with such a figure.
      what: the figure and its value.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step, self.what = step, what


def check_finite(call: TrainCall, step: int) -> None:
    """Looks at every step of a call.

    Args:
      call: what the steps returned.
      step: absolute steps done before them.

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
    """The sample ids of one step, in short.

    Args:
      samples: what an epoch consists of.
      global_batch: examples in a step.
      seed: of the order.
      step: of the stage, from 1.
    """
    steps = steps_per_epoch(len(samples), global_batch)
    epoch, position = divmod(step - 1, steps)
    order = epoch_order(len(samples), seed, epoch).numpy()
    rows = order[position * global_batch :][:global_batch]
    named = ", ".join(samples.ids[row] for row in rows[:_NAMED_INPUTS])
    more = len(rows) - _NAMED_INPUTS
    return named + (f" and {more} more" if more > 0 else "")
