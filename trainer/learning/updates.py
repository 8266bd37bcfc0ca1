"""How the steps of a stage update its variables."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import keras
import numpy as np

from trainer.config import Config, StageSpec
from trainer.config.fields import LAMB, SGD
from trainer.errors import UsageError
from trainer.learning.averages import WeightAverages
from trainer.learning.graph_loops import TrainCall, make_train_function
from trainer.learning.optimizers import (
    OptimizerSettings,
    make_optimizer,
    scale_rate,
)
from trainer.learning.schedules import Schedule, warmup_steps
from trainer.learning.stage import StageJob
from trainer.learning.steps import Batch
from trainer.model.blocks import block_depths

TrainFunction = Callable[[Iterator[Batch], int], TrainCall]
# A table of all rates is part of the graph.
_MAX_STEPS = 10**7


class StageUpdates:
    """The optimizer of a stage, its learning rates and its averages.

    Attributes:
      optimizer: built on the stage's trainable variables, in their order.
      averages: averages of these variables; None without --ema.
    """

    def __init__(
        self,
        job: StageJob,
        epoch_steps: int,
        *,
        schedule: Schedule | None = None,
    ) -> None:
        """Creates the optimizer and the averages.

        Args:
          job: the stage; a solved one gets Adam, which it never applies.
          epoch_steps: number of steps per epoch.
          schedule: the learning-rate schedule; None for that of the stage.

        Raises:
          UsageError: --warmup takes all steps of the stage, or a changing rate
            has too many steps.
        """
        config, plan, spec = job.config, job.plan, job.spec
        self._keys = plan.trainable
        self._variables = [job.classifier.variables[k] for k in self._keys]
        self._settings = OptimizerSettings()
        self._schedule = Schedule(
            kind="constant",
            peak=spec.learning_rate,
            steps=spec.epochs * epoch_steps,
        )
        self._scales: tuple[float, ...] = ()
        self._factor = 1.0
        decay = 0.0
        if not spec.solved:
            self._settings = OptimizerSettings(
                name=config.optimizer,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
            self._schedule = schedule or stage_schedule(
                config, spec, epoch_steps
            )
            self._scales = _scales(job)
            decay = config.ema
        with job.runtime.strategy.scope():
            self.optimizer = make_optimizer(
                self._settings,
                self._schedule,
                self._variables,
                scales=self._scales,
            )
            self.averages = (
                WeightAverages(
                    dict(zip(self._keys, self._variables, strict=True)), decay
                )
                if decay
                else None
            )

    def train_function(self, job: StageJob) -> TrainFunction:
        """Returns a function that trains a number of steps on batches.

        Args:
          job: the stage that these updates were created for.
        """
        config = job.config
        return make_train_function(
            job.runtime.strategy,
            job.classifier,
            job.plan,
            self.optimizer,
            clip_global_norm=config.clip_global_norm,
            xla=job.runtime.xla,
            kernel=job.inputs.kernel,
            partition=job.partition,
            accumulate_steps=config.accumulate_steps,
            loss=job.loss,
            averages=self.averages,
        )

    def rate(self, done: int) -> float:
        """Returns the learning rate of the last of `done` steps."""
        return self._schedule.rate(max(done, 1) - 1) * self._factor

    def scale(self, factor: float) -> None:
        """Sets all learning rates to `factor` times the schedule."""
        self._factor = factor
        scale_rate(self.optimizer, self._schedule.peak, factor)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a block in which the model has the averages, if any."""
        if self.averages is None:
            return contextlib.nullcontext()
        return self.averages.in_use()

    def move(self, key: str, largest: float, *, done: int) -> float:
        """Returns about how far a step moved the largest entry of a variable.

        Args:
          key: of a trainable variable.
          largest: the largest absolute entry of any of its gradients.
          done: number of steps done.
        """
        index = self._keys.index(key)
        rates = self._schedule.rates(np.arange(max(done, 1)))
        rate = float(rates.max()) * self._factor
        if self._scales:
            rate *= self._scales[index]
        if self._settings.name == SGD:
            return rate * largest
        if self._settings.name == LAMB:
            value = self._variables[index].numpy()
            return rate * float(np.sqrt(np.mean(value**2)) or 1.0)
        # The divisor of Adam's first step, after bias correction. If a gradient
        # is tiny, its epsilon term makes this step smaller than later ones.
        divisor = largest + self.optimizer.epsilon / math.sqrt(
            1 - self.optimizer.beta_2
        )
        return rate * largest / divisor


def stage_schedule(
    config: Config, spec: StageSpec, epoch_steps: int
) -> Schedule:
    """Returns the learning rates of a stage that trains by steps.

    Args:
      config: the configuration of the run.
      spec: the settings of the stage.
      epoch_steps: number of steps per epoch.

    Raises:
      UsageError: see `StageUpdates`.
    """
    steps = spec.epochs * epoch_steps
    warmup = warmup_steps(config.warmup, steps)
    if warmup and warmup >= steps:
        raise UsageError(
            f"--warmup={config.warmup:g}: {warmup} steps, but {spec.stage}"
            f" has {steps}; give fewer steps or a fraction such as 0.05, or"
            " more epochs"
        )
    schedule = Schedule(
        kind=config.schedule,
        peak=spec.learning_rate,
        steps=steps,
        warmup=warmup,
    )
    if schedule.changes and steps > _MAX_STEPS:
        raise UsageError(
            f"--schedule={config.schedule}: {spec.stage} has {steps} steps;"
            f" a changing rate allows at most {_MAX_STEPS}; give fewer"
            " epochs, or --schedule=constant without --warmup"
        )
    return schedule


def _scales(job: StageJob) -> tuple[float, ...]:
    """Returns the factor of the rate of each trainable variable.

    The head has 1; a backbone layer d blocks below it backbone_lr_scale *
    layer_decay ** d (Clark et al., 2020).
    """
    config, classifier = job.config, job.classifier
    if config.layer_decay == 1 and config.backbone_lr_scale == 1:
        return ()
    layers = classifier.backbone.layers
    depths = block_depths([layer.name for layer in layers])
    scales: dict[int, float] = {}
    for layer, depth in zip(layers, depths, strict=True):
        scale = config.backbone_lr_scale * config.layer_decay**depth
        scales |= {id(variable): scale for variable in layer.variables}
    variables: list[keras.Variable] = [
        classifier.variables[key] for key in job.plan.trainable
    ]
    return tuple(scales.get(id(variable), 1.0) for variable in variables)
