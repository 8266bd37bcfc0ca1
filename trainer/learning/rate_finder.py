"""Finds a learning rate by training while the rate rises.

Smith, "Cyclical learning rates for training neural networks", WACV 2017.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer import interrupt
from trainer.config.fields import LR_FIND
from trainer.data.order import steps_per_epoch
from trainer.errors import TrainerError
from trainer.learning.batches import TrainingBatches
from trainer.learning.schedules import SWEEP, Schedule
from trainer.learning.stage import StageJob
from trainer.learning.updates import StageUpdates

STEPS = 200
HIGHEST_RATE = 1.0
# The sweep ends when the smoothed loss exceeds this many times its minimum.
_DIVERGED = 4.0
# The loss differs more from batch to batch than from rate to rate. So it is
# averaged over about ten steps, which are a third of a decade of rates.
_SMOOTHING = 0.9
# The first smoothed losses are not used, because they average few batches.
_SKIPPED = 10
# Below this rate, training hardly changes the loss; it differs by batch only.
_STILL = 1e-6
# The loss counts as fallen if the smoothed loss is this many of its standard
# deviations below the mean loss at those rates. By chance alone, this happens
# in one sweep of 70.
_CLEARLY = 5.0
_DEVIATION = ((1 - _SMOOTHING) / (1 + _SMOOTHING)) ** 0.5
# The slope at a step is computed between this many steps before and after it.
# Between adjacent steps, noise between batches would hide the slope.
_REACH = 10
_CALL_STEPS = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """The losses of a sweep over learning rates.

    Attributes:
      rates: float64 (steps,), rising.
      losses: float64 (steps,), the mean loss of each batch before the update.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """The bias-corrected exponential moving average of the losses."""
        weights = _SMOOTHING ** np.arange(len(self.losses))
        found = np.convolve(self.losses, weights)[: len(self.losses)]
        return found / np.cumsum(weights)

    @property
    def length(self) -> int:
        """Number of steps before the loss diverges."""
        smoothed = self.smoothed
        with np.errstate(invalid="ignore"):
            least = np.minimum.accumulate(smoothed)
            ends = ~np.isfinite(smoothed) | (smoothed > _DIVERGED * least)
        return int(np.argmax(ends)) if ends.any() else len(smoothed)

    def suggestion(self) -> Suggestion | None:
        """Returns the suggested rates; None if the loss has not fallen.

        The loss must fall by more than the noise between batches.
        """
        rates = self.rates[: self.length][_SKIPPED:]
        smoothed = self.smoothed[: self.length][_SKIPPED:]
        lowest = int(np.argmin(smoothed)) if len(smoothed) else 0
        still = self.losses[self.rates < _STILL]
        noise = _CLEARLY * _DEVIATION * still.std()
        if lowest < 1 or smoothed[lowest] >= still.mean() - noise:
            return None
        steps = np.arange(min(_REACH, lowest), lowest + 1)
        before, after = steps - _REACH, steps + _REACH
        before, after = before.clip(0), after.clip(max=len(rates) - 1)
        falls = smoothed[before] - smoothed[after]
        slopes = falls / np.log10(rates[after] / rates[before])
        return Suggestion(
            steepest=float(rates[steps[np.argmax(slopes)]]),
            tenth_of_minimum=float(rates[lowest]) / 10,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The suggested learning rates.

    Attributes:
      steepest: the rate at which the smoothed loss falls fastest over the
        logarithm of the rate.
      tenth_of_minimum: a tenth of the rate with the lowest smoothed loss.
    """

    steepest: float
    tenth_of_minimum: float

    @property
    def rate(self) -> float:
        """The rate to train with: the lower of the two, which is safer."""
        return min(self.steepest, self.tenth_of_minimum)

    def to_json(self) -> dict[str, Any]:
        """Returns the rates for lr_find.json."""
        return dataclasses.asdict(self)


def sweep_rates(job: StageJob) -> Sweep:
    """Trains while the rate rises from 1e-7 to 1, or until the loss diverges.

    Changes the classifier's weights, and saves nothing.

    Args:
      job: the stage. Its learning rate, schedule and number of epochs are not
        used.

    Raises:
      TrainerError: the loss of the first batch is not finite.
      Stopped: a signal was received.
    """
    schedule = Schedule(kind=SWEEP, peak=HIGHEST_RATE, steps=STEPS)
    epoch_steps = steps_per_epoch(len(job.train), job.config.batch_size)
    updates = StageUpdates(job, epoch_steps, schedule=schedule)
    train = updates.train_function(job)
    batches = TrainingBatches(
        job.inputs,
        job.train,
        job.config,
        views=0,
        strategy=job.runtime.strategy,
        channels=job.classifier.head.kernel.shape[0],
    ).read(0, STEPS)
    losses = np.zeros(0)
    while len(losses) < STEPS:
        sums = train(batches, min(_CALL_STEPS, STEPS - len(losses))).sums
        losses = np.append(losses, sums["loss"] / sums["count"])
        sweep = Sweep(
            rates=schedule.rates(np.arange(len(losses))), losses=losses
        )
        interrupt.check()
        if sweep.length < len(losses):
            break
    if not sweep.length:
        raise TrainerError(
            f"--stage={LR_FIND}: the loss of the first batch is {losses[0]};"
            " check the images and the weights"
        )
    # Drops the steps of the last call after the loss diverged.
    return Sweep(
        rates=sweep.rates[: sweep.length], losses=losses[: sweep.length]
    )
