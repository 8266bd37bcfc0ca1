"""Checkpoints of a stage: everything that is needed to go on.

Variables and optimizer slots are stored by path, never by position: Keras
numbers its slots, and a restore by number would give one layer the slots of
another where shapes happen to agree.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.model.classifier import variable_keys
from trainer.workdir import Workdir

_PREFIX = "ckpt"
# An IndexError is what TensorFlow makes of a file that is cut short.
_UNREADABLE = (tf.errors.OpError, AssertionError, ValueError, IndexError)


@dataclasses.dataclass(kw_only=True)
class StageState:
    """The host's part of a stage, in every checkpoint.

    Attributes:
      stage: its name.
      start_step: the absolute step it began at.
      step: absolute steps done.
      epoch_sums: loss, correct and count over the epoch so far.
      window_sums: the same since the last line of training figures.
      best: step, accuracy and loss of the best validation; None before one.
      digests: of every variable when the stage began, by key.
      gradient_max: the largest absolute entry of any gradient, by key of a
        trainable variable.
      metrics_position: bytes of metrics.jsonl that belong to this state.
      seconds: time spent in training steps.
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


class _StateInCheckpoint(tf.train.experimental.PythonState):
    """Lets a checkpoint hold a StageState, as JSON."""

    def __init__(self, state: StageState) -> None:
        self.state = state

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.state))

    def deserialize(self, string_value: bytes | str) -> None:
        for key, value in json.loads(string_value).items():
            setattr(self.state, key, value)


class StageCheckpoints:
    """Saves and restores one stage: the latest few, and the best."""

    def __init__(
        self,
        workdir: Workdir,
        *,
        variables: Mapping[str, keras.Variable],
        optimizer: keras.Optimizer,
        state: StageState,
        keep: int,
    ) -> None:
        """Args:
        workdir: where the checkpoints go.
        variables: the classifier's, by key.
        optimizer: built, so that its slots exist.
        state: filled in place by `restore`.
        keep: number of latest checkpoints to keep.
        """
        self._workdir = workdir
        self._state = state
        self._checkpoint = tf.train.Checkpoint(
            model=_by_key(variables),
            slots=_slots(optimizer),
            state=_StateInCheckpoint(state),
        )
        self._managers = {
            kind: tf.train.CheckpointManager(
                self._checkpoint,
                workdir.checkpoints(state.stage, kind),
                max_to_keep=kept,
                checkpoint_name=_PREFIX,
            )
            for kind, kept in (("last", keep), ("best", 1))
        }

    def restore(self) -> bool:
        """Goes back to the latest checkpoint; False where there is none.

        Raises:
          TrainerError: it cannot be read, or is not of this model.
        """
        path = find_checkpoint(self._workdir, self._state.stage, "last")
        if path is None:
            return False
        try:
            _read_all(path)
            self._checkpoint.restore(path).assert_consumed()
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error
        return True

    def save(self, *, best: bool = False) -> str:
        """Writes a checkpoint, the best first; returns the latest's path.

        A kill between the two leaves a best that the same run, going on from
        the latest, writes again.
        """
        path = ""
        for kind in ("best", "last") if best else ("last",):
            path = self._managers[kind].save(checkpoint_number=self._state.step)
        return path


def _by_key(variables: Mapping[str, keras.Variable]) -> dict[str, Any]:
    return {key: variable.value for key, variable in variables.items()}


def _slots(optimizer: keras.Optimizer) -> dict[str, Any]:
    # The learning rate stays outside: the stored one would replace the one
    # asked for.
    return {
        key.partition("/")[2]: variable.value
        for key, variable in variable_keys(optimizer).items()
        if not key.endswith("learning_rate")
    }


def find_checkpoint(workdir: Workdir, stage: str, kind: str) -> str | None:
    """The prefix of a stage's latest or best checkpoint, if it has one.

    Unlike TensorFlow, which finds nothing where the latest was removed, this
    goes on to the one before it.

    Raises:
      TrainerError: the list of checkpoints cannot be read.
    """
    folder = workdir.checkpoints(stage, kind)
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError as error:
        raise TrainerError(
            f"{os.path.join(folder, 'checkpoint')}: cannot be read ({error});"
            " restore it, or start in another --workdir"
        ) from error
    for path in reversed(state.all_model_checkpoint_paths if state else ()):
        if os.path.exists(f"{path}.index"):
            return path
    return None


def checkpoint_step(path: str) -> int:
    """The absolute step in a checkpoint's name."""
    return int(os.path.basename(path).rpartition("-")[2])


def restore_variables(
    path: str, variables: Mapping[str, keras.Variable]
) -> None:
    """Takes a checkpoint's weights and nothing else.

    Args:
      path: a checkpoint's prefix.
      variables: all must be in it; assigned in place.

    Raises:
      TrainerError: it cannot be read, or is not of this model.
    """
    checkpoint = tf.train.Checkpoint(model=_by_key(variables))
    try:
        _read_all(path)
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched()
        status.expect_partial()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read_all(path: str) -> None:
    # A restore that fails half way leaves variables half restored, and
    # TensorFlow warns of each of them.
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


def _unreadable(path: str, error: Exception) -> TrainerError:
    reason = str(error).strip().splitlines()[0][:200]
    return TrainerError(
        f"{path}: cannot be restored ({reason}); remove {path}.* to use the"
        " checkpoint before it, or start in another --workdir"
    )
