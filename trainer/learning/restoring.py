"""Restores the weights of a checkpoint, with one-line errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from trainer.errors import TrainerError, reason_of
from trainer.learning.frozen_weights import (
    by_key,
    missing_keys,
    restore_left_out,
)
from trainer.learning.state import digests_in_checkpoint
from trainer.model.weights.checkpoint_index import check_index
from trainer.model.weights.saved_weights import senseless


def restore_variables(
    path: str,
    variables: Mapping[str, keras.Variable],
    *,
    remedy: str | None = None,
) -> None:
    """Restores only the weights of a checkpoint.

    Args:
      path: the prefix of the checkpoint.
      variables: assigned in place; all must be in the checkpoint.
      remedy: the end of an error message; None if an older checkpoint or
        another workdir helps.

    Raises:
      TrainerError: the checkpoint cannot be read, is of another model, or
        contains non-finite values or negative variances.
    """
    remedy = remedy or remedy_of(path)
    with restoring(path, remedy):
        read_all(path)
        digests = digests_in_checkpoint(path)
        # A checkpoint of another model has no digest of what it lacks, so
        # TensorFlow says what does not match.
        missing = missing_keys(path, variables) & digests.keys()
        own = {key: variables[key] for key in variables if key not in missing}
        status = tf.train.Checkpoint(model=by_key(own)).restore(path)
        status.assert_existing_objects_matched()
        status.expect_partial()
        if missing:
            others = {key: variables[key] for key in sorted(missing)}
            restore_left_out(path, others, digests)
    for key, variable in variables.items():
        # Training cannot recover from such values, and predictions with them
        # are meaningless.
        found = senseless(variable.name, variable.numpy())
        if found:
            raise TrainerError(
                f"{path}: {key} holds {found}: the run has diverged; legal are"
                f" finite numbers, and variances of 0 or more; {remedy}"
            )


def read_all(path: str) -> None:
    """Reads everything in a checkpoint, and checks its index first.

    Raises:
      Exception: of any type, if something is damaged.
    """
    # Reads everything before the restore: a restore that fails midway would
    # leave some variables restored, and log a warning for each of the others.
    check_index(path)
    reader = tf.compat.v1.train.NewCheckpointReader(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


@contextlib.contextmanager
def restoring(path: str, remedy: str) -> Iterator[None]:
    """Turns any error of a restore into a one-line TrainerError.

    Unlike in `errors.untrusted`, the message also fits a readable checkpoint of
    another model.
    """
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:
        raise TrainerError(
            f"{path}: cannot be restored ({reason_of(error)}); {remedy}"
        ) from error


def remedy_of(path: str) -> str:
    """Returns what to do about a damaged checkpoint."""
    return (
        f"remove {path}.* to use the checkpoint before it, or start in another"
        " --workdir"
    )
