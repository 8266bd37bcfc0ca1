"""Optimizers for gradients that are already summed over the replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config.fields import ADAM, ADAMW, LAMB, SGD
from trainer.learning.schedules import GraphSchedule, Schedule

GradientsAndVariables = Iterable[tuple[Any, Any]]


class SummedOnce:
    """Mixin for a Keras optimizer whose gradients are sums over all replicas.

    Keras would sum them a second time, in a private method that this class
    overrides. Between machines, the second sum takes as long as the first. If a
    Keras version no longer calls that method, gradients are too large, and only
    `asked` shows it.

    Attributes:
      asked: whether Keras has called the method.
    """

    asked = False

    def _all_reduce_sum_gradients(
        self, grads_and_vars: GradientsAndVariables
    ) -> GradientsAndVariables:
        self.asked = True
        return grads_and_vars


class Scaled:
    """Mixin for a Keras optimizer with rates and decay by variable.

    Keras's own weight decay ignores a rate that differs between variables, so
    it stays off, and `update_step` subtracts the decay first, as Keras does.

    Attributes:
      scales: a factor of the learning rate for each variable, in the order in
        which the optimizer was built; empty for 1 everywhere.
      decays: the decay of each variable, in that order; empty for none.
    """

    scales: Sequence[float] = ()
    decays: Sequence[float] = ()

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """Updates one variable, as Keras calls it."""
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        if self.scales and self.scales[index] != 1:
            learning_rate = learning_rate * self.scales[index]
        if self.decays and self.decays[index]:
            rate = tf.cast(learning_rate, variable.dtype)
            variable.assign_sub(variable * self.decays[index] * rate)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class SummedAdam(SummedOnce, Scaled, keras.optimizers.Adam):
    """Adam for gradients that are already summed over the replicas."""


class SummedSGD(SummedOnce, Scaled, keras.optimizers.SGD):
    """SGD for gradients that are already summed over the replicas."""


class SummedLamb(SummedOnce, Scaled, keras.optimizers.Lamb):
    """LAMB for gradients that are already summed over the replicas."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How a stage updates its variables.

    Attributes:
      name: adam, adamw, sgd or lamb.
      momentum: of SGD.
      weight_decay: decoupled, times the learning rate, per step; on variables
        of two or more dimensions, which excludes bias, gamma and beta.
    """

    name: str = ADAM
    momentum: float = 0.0
    weight_decay: float = 0.0


def make_optimizer(
    settings: OptimizerSettings,
    schedule: Schedule,
    variables: Sequence[keras.Variable],
    *,
    scales: Sequence[float] = (),
) -> keras.Optimizer:
    """Returns a built optimizer; call it in the scope of the strategy.

    Args:
      settings: the optimizer and its settings.
      schedule: the learning rate of each step.
      variables: the variables to update, in order.
      scales: a factor of the rate for each variable; empty for 1 everywhere.
    """
    rate = GraphSchedule(schedule) if schedule.changes else schedule.peak
    if settings.name == SGD:
        optimizer = SummedSGD(rate, momentum=settings.momentum)
    elif settings.name == LAMB:
        optimizer = SummedLamb(rate)
    else:
        # AdamW is Adam with decoupled decay (Loshchilov, Hutter, 2019).
        assert settings.name in (ADAM, ADAMW)
        optimizer = SummedAdam(rate)
    optimizer.scales = tuple(scales)
    if settings.weight_decay:
        optimizer.decays = tuple(
            settings.weight_decay if len(variable.shape) > 1 else 0.0
            for variable in variables
        )
    optimizer.build(list(variables))
    return optimizer


def scale_rate(optimizer: keras.Optimizer, peak: float, factor: float) -> None:
    """Sets the learning rate to `factor` times its schedule.

    Args:
      optimizer: from `make_optimizer`.
      peak: the peak of its schedule.
      factor: 1, or lower after a rollback.
    """
    # Keras has no public way to its schedule.
    schedule = optimizer._learning_rate
    if isinstance(schedule, GraphSchedule):
        schedule.factor.assign(factor)
    else:
        optimizer.learning_rate = peak * factor
