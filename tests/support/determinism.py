"""Op determinism is a switch of the whole process; tests need it off again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

# TensorFlow's public interface only has the way on.
from tensorflow.python.framework import config

from trainer.distribute import devices


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """A block that begins as a new process does, and leaves no trace."""
    enabled = config.is_op_determinism_enabled()
    remembered = devices._Process.deterministic
    _set(False, False)
    try:
        yield
    finally:
        _set(enabled, remembered)


def is_on() -> bool:
    """Whether TensorFlow has been told."""
    return config.is_op_determinism_enabled()


def _set(enabled: bool, remembered: bool) -> None:
    if enabled:
        tf.config.experimental.enable_op_determinism()
    else:
        config.disable_op_determinism()
    devices._Process.deterministic = remembered
