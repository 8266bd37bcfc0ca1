"""Stores the frozen weights of a run once, not in each checkpoint.

The first stage of a run stores the variables that it does not train. The
checkpoints of a stage leave out what still has the stored value. The state in
them has a digest of each variable, so weights of another run are detected.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import TrainerError, reason_of, untrusted
from trainer.learning.audit import digest
from trainer.learning.checkpoint_files import LAST, find_checkpoints, is_whole
from trainer.model.weights.checkpoint_index import check_index
from trainer.model.weights.frozen import FOLDER, NAME, WHICH, frozen_prefix
from trainer.storage import files
from trainer.workdir import Workdir

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_REMEDY = "restore it, or start in another --workdir"


def by_key(variables: Mapping[str, keras.Variable]) -> dict[str, tf.Variable]:
    """Returns the TensorFlow variables, as a checkpoint stores them."""
    return {key: variable.value for key, variable in variables.items()}


def left_out(
    workdir: Workdir,
    stage: str,
    variables: Mapping[str, keras.Variable],
    *,
    trainable: Collection[str],
) -> frozenset[str]:
    """Returns the keys of the variables that a stage's checkpoints leave out.

    A stage that resumes leaves out what its checkpoints leave out. Another one
    leaves out the variables that it does not train and that have the stored
    values.

    Args:
      workdir: the workdir of the run.
      stage: the name of the stage.
      variables: the variables of the classifier, by key. If the stage does not
        resume, they have the values at its start.
      trainable: the keys of the variables that the stage trains.

    Raises:
      TrainerError: the frozen weights cannot be written or read.
    """
    for path in find_checkpoints(workdir, stage, LAST):
        try:
            check_index(path)
            return frozenset(missing_keys(path, variables))
        except Exception:
            # Damaged. `StageCheckpoints.restore` says so.
            continue
    path = os.path.join(workdir.checkpoints(FOLDER, WHICH), NAME)
    processes = workdir.processes
    frozen = {k: v for k, v in variables.items() if k not in trainable}
    if not frozen:
        return frozenset()
    if not processes.chief_value(is_whole(f"{path}.index")):
        processes.by_chief(lambda: _write(workdir, path, frozen))
    with untrusted(path, _REMEDY):
        check_index(path)
        found = frozen.keys() - missing_keys(path, frozen)
        reader = tf.compat.v1.train.NewCheckpointReader(path)
        return frozenset(
            key
            for key in found
            if _same_bits(reader.get_tensor(_name(key)), frozen[key].numpy())
        )


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _write(
    workdir: Workdir, path: str, variables: Mapping[str, keras.Variable]
) -> None:
    workdir.check_held()
    try:
        # Left by a process that was killed while it wrote them.
        if files.is_dir(f"{path}_temp"):
            files.remove_tree(f"{path}_temp")
        files.make_dirs(os.path.dirname(path))
        tf.train.Checkpoint(model=by_key(variables)).write(path)
    except (tf.errors.OpError, OSError) as error:
        raise TrainerError(
            f"{path}: the frozen weights cannot be saved ({reason_of(error)});"
            " free some space, and start again"
        ) from error


def missing_keys(
    prefix: str, variables: Mapping[str, keras.Variable]
) -> frozenset[str]:
    """Returns the keys of the variables that are not in a checkpoint.

    Args:
      prefix: the prefix of a checkpoint whose index has been checked.
      variables: the variables of the classifier, by key.
    """
    names = tf.compat.v1.train.NewCheckpointReader(
        prefix
    ).get_variable_to_shape_map()
    return frozenset(key for key in variables if _name(key) not in names)


def _name(key: str) -> str:
    """Returns the name that TensorFlow gives an item of the dict `model`."""
    return f"model/{key.replace('.', '..').replace('/', '.S')}{_VALUE}"


def restore_left_out(
    prefix: str,
    variables: Mapping[str, keras.Variable],
    digests: Mapping[str, str],
) -> None:
    """Restores the variables that a checkpoint leaves out.

    Args:
      prefix: the prefix of the checkpoint.
      variables: those that it leaves out, by key; assigned in place.
      digests: of the state in the checkpoint.

    Raises:
      TrainerError: they are missing, cannot be read, or are not those of the
        run.
    """
    path = frozen_prefix(prefix)
    if path is None:
        raise TrainerError(
            f"{prefix}: checkpoints/{FOLDER} with the frozen weights is missing"
            f" beside it; {_REMEDY}"
        )
    with untrusted(path, _REMEDY):
        check_index(path)
        checkpoint = tf.train.Checkpoint(model=by_key(variables))
        # Not restore, which expects the counter that save adds.
        status = checkpoint.read(path)
        status.assert_existing_objects_matched()
        status.expect_partial()
    for key, variable in variables.items():
        if digest(variable) != digests.get(key):
            raise TrainerError(
                f"{path}: {key} is not that of {prefix}; {_REMEDY}"
            )
