"""The state of a stage outside the graph, and how checkpoints store it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import keras
import tensorflow as tf

from trainer.config.fields import ACCURACY, LOSS, MONITOR_NAMES
from trainer.learning.audit import digests
from trainer.learning.steps import UNCONNECTED
from trainer.model.freeze import FreezePlan
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
      best: step, loss, accuracy or mAP, and the monitored metric of the best
        validation; None before one.
      digests: digests of all variables at the start of the stage, by key.
      gradient_max: the largest absolute entry of any gradient, by key of a
        trainable variable; `steps.UNCONNECTED` before the first gradient.
      metrics_position: number of bytes of metrics.jsonl that belong to this
        state.
      seconds: time spent in training steps.
      pending_validation: whether the epoch that ends at `step` is not yet
        validated.
      rollbacks: number of rollbacks after a non-finite loss.
      monitor: the metric that decides which validation is the best.
      stopped: why the stage ends at `step`, before its last one: patience or
        time_limit; "" if it does not.
      run_seconds: training time of the run so far, over its stages and its
        starts; 0 without a time limit.
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
    monitor: str = ACCURACY
    stopped: str = ""
    run_seconds: float = 0.0

    @classmethod
    def begin(
        cls,
        stage: str,
        step: int,
        variables: Mapping[str, keras.Variable],
        plan: FreezePlan,
        *,
        monitor: str = ACCURACY,
    ) -> StageState:
        """Returns the state of a stage before its first step.

        Args:
          stage: the name of the stage.
          step: the absolute step at which it begins.
          variables: the variables of the classifier, by key.
          plan: the trainable and the frozen variables of the stage.
          monitor: the metric that decides which validation is the best.
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
            monitor=monitor,
        )

    def is_best(self, values: Mapping[str, float]) -> bool:
        """Returns whether a validation is the best so far.

        Of two with the same monitored value, the one with the lower loss is
        better. A tie of both does not count.

        Args:
          values: the loss and the monitored metric.
        """
        return self.best is None or self._rank(values) > self._rank(self.best)

    def _rank(self, values: Mapping[str, float]) -> tuple[float, float]:
        value = values[self.monitor]
        return (
            -value if self.monitor == LOSS else value,
            -values["loss"],
        )


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
    "monitor?": str,
    "stopped?": str,
    "run_seconds?": (int, float),
}


# The name that TensorFlow gives the item `state` of a checkpoint.
_STATE_NAME = "state/.ATTRIBUTES/py_state"


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
        if values.get("monitor", ACCURACY) not in MONITOR_NAMES:
            raise ValueError("monitor is not a metric")
        for field in dataclasses.fields(self.state):
            # A field that an earlier version did not have keeps its default.
            if field.name in values:
                setattr(self.state, field.name, values[field.name])


def digests_in_checkpoint(prefix: str) -> dict[str, str]:
    """Returns the digests in the state of a checkpoint; {} without a state.

    Args:
      prefix: the prefix of a checkpoint whose index has been checked.

    Raises:
      ValueError: the state is not the JSON of a state.
    """
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    if not reader.has_tensor(_STATE_NAME):
        return {}
    values = json.loads(reader.get_tensor(_STATE_NAME))
    check_shape(values, _STATE_SHAPE)
    return dict(values["digests"])


def no_sums() -> dict[str, float]:
    """Returns the sums before the first example: all 0."""
    return {"loss": 0.0, "correct": 0.0, "count": 0.0}
