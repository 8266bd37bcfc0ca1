"""Checkpoints of a stage, with everything that is needed to resume it.

Variables and optimizer slots are stored by path. Keras itself stores slots by
number, so a restore could assign the slots of one layer to another layer of the
same shape.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.errors import TrainerError, reason_of
from trainer.learning.averages import WeightAverages
from trainer.learning.checkpoint_files import (
    BEST,
    EPOCH,
    LAST,
    PREFIX,
    checkpoint_step,
    find_checkpoints,
    remove_checkpoint,
    remove_unfinished,
)
from trainer.learning.frozen_weights import (
    by_key,
    left_out,
    restore_left_out,
)
from trainer.learning.restoring import read_all, remedy_of, restoring
from trainer.learning.state import (
    StageState,
    StateInCheckpoint,
)
from trainer.model.classifier import variable_keys
from trainer.storage import files
from trainer.workdir import Workdir

_NO_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)
# TensorFlow's list of a folder's checkpoints.
_LIST = "checkpoint"


class StageCheckpoints:
    """Saves and restores the last, best and epoch-boundary checkpoints."""

    def __init__(
        self,
        workdir: Workdir,
        *,
        variables: Mapping[str, keras.Variable],
        optimizer: keras.Optimizer,
        state: StageState,
        keep: int,
        keep_best: int = 1,
        averages: WeightAverages | None = None,
    ) -> None:
        """Creates the checkpoint managers.

        Nothing is restored yet. The first stage of a run stores the frozen
        weights; see `frozen_weights.left_out`.

        Args:
          workdir: the workdir with the checkpoints.
          variables: the variables of the classifier, by key; at the start of
            the stage, unless it resumes.
          optimizer: already built, so that its slots exist.
          state: the state of the stage; `restore` changes it in place.
          keep: number of latest checkpoints to keep.
          keep_best: number of best checkpoints to keep. With 2, the best
            checkpoint of the state outlives a kill between the save of a
            better one and that of the state that names it.
          averages: of the trained variables. A checkpoint stores them as the
            model's weights, which is what every reader of it wants, and the
            weights beside them.

        Raises:
          TrainerError: TensorFlow's list of checkpoints is not a file; or the
            frozen weights cannot be written or read.
        """
        self._workdir = workdir
        self._state = state
        self._averages = averages
        self._variables = variables
        self._optimizer = optimizer
        trainable = list(state.gradient_max)
        out = left_out(workdir, state.stage, variables, trainable=trainable)
        self._left_out = {k: v for k, v in variables.items() if k in out}
        self._checkpoint, self._best = self._made()
        self._keep = {LAST: keep, BEST: keep_best, EPOCH: 1}
        self._managers = (
            {kind: self._manager(kind) for kind in self._keep}
            if workdir.writes
            else {}
        )

    def _made(self) -> tuple[tf.train.Checkpoint, tf.train.Checkpoint]:
        """Returns what checkpoints hold: to train on, and as the best."""
        out = self._left_out
        model = {k: v for k, v in self._variables.items() if k not in out}
        stored = {
            "model": by_key(model),
            "state": StateInCheckpoint(self._state),
        }
        # The best one is never trained on, so it needs no more than this.
        best = tf.train.Checkpoint(**stored)
        stored["slots"] = _slots(self._optimizer)
        if self._averages is not None:
            stored["weights"] = self._averages.values
            stored["averaged"] = self._averages.count
        return tf.train.Checkpoint(**stored), best

    def save_whole(self) -> None:
        """Saves the last checkpoint again, with all weights.

        For a stage whose frozen weights have changed.

        Raises:
          TrainerError: see `save`.
        """
        self._left_out = {}
        self._checkpoint, self._best = self._made()
        if self._managers:
            self._managers[LAST] = self._manager(LAST)
        self.save()

    def _manager(self, kind: str) -> tf.train.CheckpointManager:
        folder = self._workdir.checkpoints(self._state.stage, kind)
        listing = os.path.join(folder, _LIST)
        if files.exists(listing) and not files.is_file(listing):
            # TensorFlow would block forever on a pipe.
            raise TrainerError(
                f"{listing}: not a regular file; remove it, and start again"
            )
        paths = find_checkpoints(self._workdir, self._state.stage, kind)
        if paths:
            # TensorFlow trusts its own list, which may be missing or outdated.
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
            self._best if kind == BEST else self._checkpoint,
            folder,
            max_to_keep=self._keep[kind],
            checkpoint_name=PREFIX,
        )

    def restore(self) -> bool:
        """Restores the latest readable checkpoint.

        Newer checkpoints that cannot be read are removed, with a warning.

        Returns:
          False if the stage has no checkpoint.

        Raises:
          TrainerError: none of the checkpoints can be read; or the latest
            readable one is of another model.
        """
        stage = self._state.stage
        for path in remove_unfinished(self._workdir, stage):
            self._workdir.warn(
                f"{path}: cannot be read (truncated); it is removed"
            )
        paths = find_checkpoints(self._workdir, stage, LAST)
        error: Exception | None = None
        for path in paths:
            try:
                read_all(path)
            except _NO_MEMORY as damage:
                # The checkpoint itself may be good, so it is not skipped.
                raise TrainerError(
                    f"{path}: cannot be restored ({reason_of(damage)}); free"
                    " memory, and start again"
                ) from damage
            except Exception as damage:
                error = damage
                self._workdir.warn(
                    f"{path}: cannot be read ({reason_of(damage)}); trying the"
                    " checkpoint before it"
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
        """Returns whether `roll_back` has a checkpoint to restore."""
        return bool(self._boundaries())

    def _boundaries(self) -> list[str]:
        # A kill during a save may leave two, of which one is of a later step.
        found = find_checkpoints(self._workdir, self._state.stage, EPOCH)
        return [p for p in found if checkpoint_step(p) <= self._state.step]

    def _restore(self, path: str) -> None:
        with restoring(path, remedy_of(path)):
            self._checkpoint.restore(path).assert_consumed()
        if self._left_out:
            restore_left_out(path, self._left_out, self._state.digests)
        if self._averages is not None:
            self._averages.exchange()

    def roll_back(self) -> None:
        """Restores the last epoch boundary, and removes later checkpoints.

        Raises:
          TrainerError: that checkpoint cannot be read.
        """
        self._restore(self._boundaries()[0])
        self._tidy()

    def _tidy(self) -> None:
        """Removes checkpoints of later steps, and surplus old ones.

        A kill between a save and the removal of the oldest checkpoint leaves
        one too many.
        """
        self._workdir.processes.by_chief(self._remove_others)

    def _remove_others(self) -> None:
        paths = find_checkpoints(self._workdir, self._state.stage, LAST)
        later = [p for p in paths if checkpoint_step(p) > self._state.step]
        for path in later + paths[len(later) + self._keep[LAST] :]:
            remove_checkpoint(path)
        self._managers[LAST] = self._manager(LAST)
        if self._keep[BEST] == 1:
            # The only one; the steps to it are repeated.
            return
        for path in find_checkpoints(self._workdir, self._state.stage, BEST):
            if checkpoint_step(path) > self._state.step:
                remove_checkpoint(path)
        self._managers[BEST] = self._manager(BEST)

    def save(self, *, best: bool = False, epoch: bool = False) -> str:
        """Writes a checkpoint.

        Only the chief writes, because mirrored variables are equal in all
        processes; the other processes wait. The `last` checkpoint is written
        after the others: if a kill prevents it, the resumed run repeats the
        steps and writes all of them again.

        Args:
          best: whether to save it as the best checkpoint, too.
          epoch: whether to save it as the epoch boundary, too.

        Returns:
          The prefix of the `last` checkpoint; "" on processes other than the
          chief.

        Raises:
          TrainerError: the disk is full or read-only; or another process has
            taken over the workdir.
        """
        kinds = [
            kind
            for kind, asked in ((BEST, best), (EPOCH, epoch), (LAST, True))
            if asked
        ]
        processes = self._workdir.processes
        with contextlib.ExitStack() as stack:
            if self._averages is not None:
                stack.enter_context(self._averages.in_use())
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
                    f" saved ({reason_of(error)}); free some space, and the"
                    " same command resumes from the checkpoint before it"
                ) from error
        return path

    def _unlist(self, kind: str) -> None:
        """Removes the index of this step before the step is saved again.

        TensorFlow replaces the data before the index. A kill between the two
        must not leave the old index with the new data.
        """
        for path in find_checkpoints(self._workdir, self._state.stage, kind):
            if checkpoint_step(path) == self._state.step:
                files.remove(f"{path}.index")


def _slots(optimizer: keras.Optimizer) -> dict[str, Any]:
    # The learning rate is excluded, because a restored one would override the
    # flag.
    return {
        key.partition("/")[2]: variable.value
        for key, variable in variable_keys(optimizer).items()
        if not key.endswith("learning_rate")
    }
