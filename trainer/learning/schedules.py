"""The learning rate of each step, as a pure function of the step.

With T steps in the stage, W of them warm-up, and t counted from 0, the rate is
the peak times

    warm-up:   (t + 1) / W                     for t < W
    constant:  1
    cosine:    (1 + cos(pi (t - W) / (T - W))) / 2   (Loshchilov, Hutter, 2017)
    linear:    1 - (t - W) / (T - W)
    step:      1, 1/10 or 1/100, changing after half and three quarters of T
    sweep:     10^(-7 (1 - t / (T - 1))), for finding a rate (Smith, 2017)
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from trainer.config.fields import CONSTANT, COSINE, LINEAR, STEPWISE

_DROPS = (0.5, 0.75)
SWEEP = "sweep"
SWEEP_LOWEST = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rates of one stage.

    Attributes:
      kind: constant, cosine, linear, step or sweep.
      peak: the highest rate.
      steps: number of steps of the stage.
      warmup: number of steps in which the rate rises to the peak; below
        `steps`.
    """

    kind: str
    peak: float
    steps: int
    warmup: int = 0

    @property
    def changes(self) -> bool:
        """Whether the rate differs between steps."""
        return self.kind != CONSTANT or self.warmup > 0

    def rate(self, step: int) -> float:
        """Returns the rate of a step, counted from 0 within the stage."""
        return float(self.rates(np.array([step]))[0])

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Returns the rates of some steps.

        Args:
          steps: int (n,), counted from 0 within the stage.

        Returns:
          float64 (n,).
        """
        part = (steps - self.warmup) / (self.steps - self.warmup)
        factors = np.ones(len(steps))
        if self.kind == COSINE:
            factors = (1 + np.cos(np.pi * part)) / 2
        elif self.kind == LINEAR:
            factors = 1 - part
        elif self.kind == STEPWISE:
            drops = [steps / self.steps >= drop for drop in _DROPS]
            factors = 0.1 ** np.sum(drops, axis=0)
        elif self.kind == SWEEP:
            done = steps / (self.steps - 1)
            factors = SWEEP_LOWEST ** (1 - done)
        rising = (steps + 1) / max(self.warmup, 1)
        return self.peak * np.where(steps < self.warmup, rising, factors)


class GraphSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that an optimizer evaluates in the graph.

    Keras's optimizer counts its own updates, and its checkpoint stores the
    count, so a resumed stage continues at the right rate.

    Attributes:
      factor: float32 variable, a further factor of every rate; a rollback
        lowers it.
    """

    def __init__(self, schedule: Schedule) -> None:
        """Creates the schedule, in the scope of the strategy."""
        super().__init__()
        self._schedule = schedule
        # The rates as float32, computed in float64 on the host, so that they
        # do not depend on the device.
        self._rates = schedule.rates(np.arange(schedule.steps)).astype(
            np.float32
        )
        self.factor = tf.Variable(
            1.0,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate of a step, a float32 scalar.

        Args:
          step: int64 scalar, the number of updates so far.
        """
        last = len(self._rates) - 1
        index = tf.minimum(tf.cast(step, tf.int64), last)
        return tf.gather(self._rates, index) * tf.convert_to_tensor(self.factor)

    def get_config(self) -> dict[str, object]:
        """Returns the settings, as Keras requires."""
        return dataclasses.asdict(self._schedule)


def warmup_steps(warmup: float, steps: int) -> int:
    """Returns the number of warm-up steps.

    Args:
      warmup: a number of steps, or below 1 a fraction of `steps`, rounded.
      steps: number of steps of the stage.
    """
    return int(warmup) if warmup >= 1 else round(warmup * steps)
