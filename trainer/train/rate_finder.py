"""Finds a learning rate: trains while the rate rises, and watches the loss.

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
from trainer.train.batches import TrainingBatches
from trainer.train.schedules import SWEEP, Schedule
from trainer.train.stage import StageJob
from trainer.train.updates import StageUpdates

STEPS = 200
HIGHEST_RATE = 1.0
# The sweep ends when the smoothed loss is this many times its least value.
_DIVERGED = 4.0
# A batch differs from the next more than a rate from the next. The mean of
# about ten steps is a third of a decade of rates.
_SMOOTHING = 0.9
# The first smoothed losses are means of few batches.
_SKIPPED = 10
# Below this rate the losses differ by their batches only.
_STILL = 1e-6
# The smoothed loss has fallen if it is this many of its own standard deviations
# below the mean at such rates. By chance that happens in one sweep of 70.
_CLEARLY = 5.0
_DEVIATION = ((1 - _SMOOTHING) / (1 + _SMOOTHING)) ** 0.5
# A slope is that of the line between steps this far before and after. With
# adjacent steps, batches that differ hide it.
_REACH = 10
_CALL_STEPS = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """The losses at rising learning rates.

    Attributes:
      rates: float64 (steps,), rising.
      losses: float64 (steps,), the mean loss of each batch, before its update.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """The exponential moving average of the losses, without bias."""
        weights = _SMOOTHING ** np.arange(len(self.losses))
        found = np.convolve(self.losses, weights)[: len(self.losses)]
        return found / np.cumsum(weights)

    @property
    def length(self) -> int:
        """Number of steps up to the one at which the loss has diverged."""
        smoothed = self.smoothed
        with np.errstate(invalid="ignore"):
            least = np.minimum.accumulate(smoothed)
            ends = ~np.isfinite(smoothed) | (smoothed > _DIVERGED * least)
        return int(np.argmax(ends)) if ends.any() else len(smoothed)

    def suggestion(self) -> Suggestion | None:
        """Returns the suggested rates; None if the loss has not fallen.

        A fall that batches explain is none.
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
    """Learning rates for the training.

    Attributes:
      steepest: the rate at which the smoothed loss falls fastest, by the
        logarithm of the rate.
      tenth_of_minimum: a tenth of the rate with the least smoothed loss.
    """

    steepest: float
    tenth_of_minimum: float

    @property
    def rate(self) -> float:
        """The rate to train with: the lower of both, as the safer one."""
        return min(self.steepest, self.tenth_of_minimum)

    def to_json(self) -> dict[str, Any]:
        """Returns the rates for lr_find.json."""
        return dataclasses.asdict(self)


def sweep_rates(job: StageJob) -> Sweep:
    """Trains with rates from 1e-7 to 1, and ends early if the loss diverges.

    The classifier's weights are changed; nothing is saved.

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
    # The steps of the last call after the end do not count.
    return Sweep(
        rates=sweep.rates[: sweep.length], losses=losses[: sweep.length]
    )
