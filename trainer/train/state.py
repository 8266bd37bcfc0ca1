"""The state of a stage outside the graph, and how checkpoints store it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.model.freeze import FreezePlan
from trainer.train.audit import digests
from trainer.train.steps import UNCONNECTED
from trainer.workdir.stored import check_shape


@dataclasses.dataclass(kw_only=True)
class StageState:
    """The state of a stage outside the graph; part of every checkpoint.

    Attributes:
      stage: the name of the stage.
      start_step: the absolute step at which the stage began.
      step: the absolute number of steps done.
      epoch_sums: loss, correct and count over the epoch so far.
      window_sums: the same since the last line of training metrics.
      best: step, accuracy and loss of the best validation; None before one.
      digests: digests of all variables at the start of the stage, by key.
      gradient_max: the largest absolute entry of any gradient, by key of a
        trainable variable; `steps.UNCONNECTED` before the first gradient.
      metrics_position: number of bytes of metrics.jsonl that belong to this
        state.
      seconds: time spent in training steps.
      pending_validation: whether the epoch that ends at `step` is not yet
        validated.
      rollbacks: number of rollbacks after a non-finite loss.
    """

    stage: str
    start_step: int
    step: int
    epoch_sums: dict[str, float]
    window_sums: dict[str, float]
    best: dict[str, float] | None
    digests: dict[str, str]
    gradient_max: dict[str, float]
    metrics_position: int
    seconds: float
    pending_validation: bool = False
    rollbacks: int = 0

    @classmethod
    def begin(
        cls,
        stage: str,
        step: int,
        variables: Mapping[str, keras.Variable],
        plan: FreezePlan,
    ) -> StageState:
        """Returns the state of a stage before its first step.

        Args:
          stage: the name of the stage.
          step: the absolute step at which it begins.
          variables: the variables of the classifier, by key.
          plan: the trainable and the frozen variables of the stage.
        """
        return cls(
            stage=stage,
            start_step=step,
            step=step,
            epoch_sums=no_sums(),
            window_sums=no_sums(),
            best=None,
            digests=digests(variables),
            gradient_max=dict.fromkeys(plan.trainable, UNCONNECTED),
            metrics_position=0,
            seconds=0.0,
        )

    def is_best(self, values: Mapping[str, float]) -> bool:
        """Returns whether a validation has the highest accuracy so far.

        A tie does not count.
        """
        return self.best is None or values["accuracy"] > self.best["accuracy"]


_SUMS_SHAPE = {str: (int, float)}
_STATE_SHAPE = {
    "stage": str,
    "start_step": int,
    "step": int,
    "epoch_sums": _SUMS_SHAPE,
    "window_sums": _SUMS_SHAPE,
    "best": (dict, type(None)),
    "digests": {str: str},
    "gradient_max": _SUMS_SHAPE,
    "metrics_position": int,
    "seconds": (int, float),
    "pending_validation?": bool,
    "rollbacks?": int,
}


class StateInCheckpoint(tf.train.experimental.PythonState):
    """Stores a StageState in a checkpoint, as JSON."""

    def __init__(self, state: StageState) -> None:
        """Wraps a state, which a restore changes in place."""
        self.state = state

    def serialize(self) -> str:
        """Returns the state as JSON."""
        return json.dumps(dataclasses.asdict(self.state))

    def deserialize(self, string_value: bytes | str) -> None:
        """Restores the state.

        Raises:
          ValueError: the value is not the JSON of a state.
        """
        values = json.loads(string_value)
        check_shape(values, _STATE_SHAPE)
        for field in dataclasses.fields(self.state):
            # A field that an earlier version did not have keeps its default.
            if field.name in values:
                setattr(self.state, field.name, values[field.name])


def no_sums() -> dict[str, float]:
    """Returns the sums before the first example: all 0."""
    return {"loss": 0.0, "correct": 0.0, "count": 0.0}
