"""Checkpoints of a stage: everything that is needed to go on.

Variables and optimizer slots are stored by path, never by position: Keras
numbers its slots, and a restore by number would give one layer the slots of
another where shapes happen to agree.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.errors import TrainerError, reason_of
from trainer.model.classifier import variable_keys
from trainer.model.weights.checkpoint_index import check_index
from trainer.model.weights.saved_weights import senseless
from trainer.storage import files
from trainer.train.checkpoint_files import (
    BEST,
    EPOCH,
    LAST,
    PREFIX,
    checkpoint_step,
    find_checkpoints,
    remove_checkpoint,
    remove_unfinished,
)
from trainer.workdir import Workdir
from trainer.workdir.stored import check_shape

_NO_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)
# TensorFlow's list of a folder's checkpoints.
_LIST = "checkpoint"


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
        trainable variable; `steps.UNCONNECTED` where there never was one.
      metrics_position: bytes of metrics.jsonl that belong to this state.
      seconds: time spent in training steps.
      pending_validation: the epoch that ends at `step` is yet to be validated.
      rollbacks: how often the stage went back after a loss that was no number.
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


class _StateInCheckpoint(tf.train.experimental.PythonState):
    """Lets a checkpoint hold a StageState, as JSON."""

    def __init__(self, state: StageState) -> None:
        self.state = state

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.state))

    def deserialize(self, string_value: bytes | str) -> None:
        values = json.loads(string_value)
        check_shape(values, _STATE_SHAPE)
        for field in dataclasses.fields(self.state):
            # One that an earlier version did not have keeps its default.
            if field.name in values:
                setattr(self.state, field.name, values[field.name])


class StageCheckpoints:
    """Saves and restores one stage: the latest few, the best, the boundary."""

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
        self._keep = {LAST: keep, BEST: 1, EPOCH: 1}
        self._managers = (
            {kind: self._manager(kind) for kind in self._keep}
            if workdir.writes
            else {}
        )

    def _manager(self, kind: str) -> tf.train.CheckpointManager:
        folder = self._workdir.checkpoints(self._state.stage, kind)
        listing = os.path.join(folder, _LIST)
        if files.exists(listing) and not files.is_file(listing):
            # TensorFlow would wait for a pipe.
            raise TrainerError(
                f"{listing}: not a regular file; remove it, and start again"
            )
        paths = find_checkpoints(self._workdir, self._state.stage, kind)
        if paths:
            # TensorFlow goes by its list, which may be lost or outdated.
            tf.compat.v1.train.update_checkpoint_state(
                folder,
                paths[0],
                all_model_checkpoint_paths=paths[::-1],
                all_model_checkpoint_timestamps=[
                    files.stat(f"{path}.index").st_mtime_ns / 1e9
                    for path in paths[::-1]
                ],
            )
        return tf.train.CheckpointManager(
            self._checkpoint,
            folder,
            max_to_keep=self._keep[kind],
            checkpoint_name=PREFIX,
        )

    def restore(self) -> bool:
        """Goes back to the latest whole checkpoint; False where there is none.

        Newer ones that cannot be read are named in a warning, and removed.

        Raises:
          TrainerError: there are some, and none can be read; or the latest
            is of another model.
        """
        stage = self._state.stage
        for path in remove_unfinished(self._workdir, stage):
            self._workdir.warn(
                f"{path}: cannot be read (not written to its end); going on"
                " without it"
            )
        paths = find_checkpoints(self._workdir, stage, LAST)
        error: Exception | None = None
        for path in paths:
            try:
                _read_all(path)
            except _NO_MEMORY as damage:
                # The checkpoint may be whole, and must not be passed over.
                raise TrainerError(
                    f"{path}: cannot be restored ({reason_of(damage)}); free"
                    " memory, and start again"
                ) from damage
            except Exception as damage:
                error = damage
                self._workdir.warn(
                    f"{path}: cannot be read ({reason_of(damage)}); going on"
                    " from the one before it"
                )
                continue
            self._restore(path)
            self._tidy()
            return True
        if error:
            raise TrainerError(
                f"{os.path.dirname(paths[0])}: none of its {len(paths)}"
                f" checkpoints can be read ({reason_of(error)}); restore them,"
                " or start in another --workdir"
            )
        return False

    def has_boundary(self) -> bool:
        """Whether there is a checkpoint that `roll_back` can go back to."""
        found = find_checkpoints(self._workdir, self._state.stage, EPOCH)
        return any(checkpoint_step(p) <= self._state.step for p in found)

    def _restore(self, path: str) -> None:
        with _restoring(path):
            self._checkpoint.restore(path).assert_consumed()

    def roll_back(self) -> None:
        """Goes back to the last epoch boundary, and forgets what came after.

        Raises:
          TrainerError: that checkpoint cannot be read.
        """
        # A kill during saving may leave two, one of them of a later step.
        path = next(
            path
            for path in find_checkpoints(
                self._workdir, self._state.stage, EPOCH
            )
            if checkpoint_step(path) <= self._state.step
        )
        self._restore(path)
        self._tidy()

    def _tidy(self) -> None:
        """Removes later ones than this state, and more than are to be kept.

        A kill may have come between the writing of one and the removal of
        another.
        """
        self._workdir.processes.by_chief(self._remove_others)

    def _remove_others(self) -> None:
        paths = find_checkpoints(self._workdir, self._state.stage, LAST)
        later = [p for p in paths if checkpoint_step(p) > self._state.step]
        for path in later + paths[len(later) + self._keep[LAST] :]:
            remove_checkpoint(path)

        self._managers[LAST] = self._manager(LAST)

    def save(self, *, best: bool = False, epoch: bool = False) -> str:
        """Writes a checkpoint, the latest last; returns the latest's path.

        Mirrored variables are the same in all processes, and what one of them
        writes all restore; the others wait until it is there.

        A kill in between leaves a best that the same run, going on from the
        latest, writes again.

        Args:
          best: whether it is the best so far, too.
          epoch: whether it is an epoch boundary to come back to, too.

        Raises:
          TrainerError: the disk is full, or cannot be written to; or the
            workdir is another process's by now.
        """
        kinds = [BEST] * best + [EPOCH] * epoch + [LAST]
        processes = self._workdir.processes
        return processes.by_chief(lambda: self._write(kinds)) or ""

    def _write(self, kinds: list[str]) -> str:
        self._workdir.check_held()
        path = ""
        for kind in kinds:
            manager = self._managers[kind]
            try:
                self._unlist(kind)
                path = manager.save(checkpoint_number=self._state.step)
            except (tf.errors.OpError, OSError) as error:
                raise TrainerError(
                    f"{manager.directory}: step {self._state.step} cannot be"
                    f" saved ({reason_of(error)}); make room, and the same"
                    " command goes on from the checkpoint before it"
                ) from error
        return path

    def _unlist(self, kind: str) -> None:
        """Before a step is saved once more: its index goes first.

        TensorFlow replaces the data before the index, and a kill in between
        must not leave one beside the other's.
        """
        for path in find_checkpoints(self._workdir, self._state.stage, kind):
            if checkpoint_step(path) == self._state.step:
                files.remove(f"{path}.index")


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


def restore_variables(
    path: str, variables: Mapping[str, keras.Variable]
) -> None:
    """Takes a checkpoint's weights and nothing else.

    Args:
      path: a checkpoint's prefix.
      variables: all must be in it; assigned in place.

    Raises:
      TrainerError: it cannot be read, is not of this model, or holds values
        that are not finite, or negative variances.
    """
    checkpoint = tf.train.Checkpoint(model=_by_key(variables))
    with _restoring(path):
        _read_all(path)
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched()
        status.expect_partial()
    for key, variable in variables.items():
        # Training from them would never recover, and what they predict means
        # nothing.
        found = senseless(variable.name, variable.numpy())
        if found:
            raise TrainerError(
                f"{path}: {key} holds {found}: the run has diverged; legal are"
                " finite numbers, and variances of 0 or more;"
                f" {_remedy(path)}"
            )


def _read_all(path: str) -> None:
    # A restore that fails half way leaves variables half restored, and
    # TensorFlow warns of each of them.
    check_index(path)
    reader = tf.compat.v1.train.NewCheckpointReader(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


@contextlib.contextmanager
def _restoring(path: str) -> Iterator[None]:
    """Turns whatever a restore raises into the one line of a TrainerError.

    As `errors.untrusted`, but it may also be that the checkpoint is another
    model's.
    """
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:
        raise TrainerError(
            f"{path}: cannot be restored ({reason_of(error)}); {_remedy(path)}"
        ) from error


def _remedy(path: str) -> str:
    return (
        f"remove {path}.* to use the checkpoint before it, or start in another"
        " --workdir"
    )
