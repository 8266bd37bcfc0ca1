"""Switches op determinism, a state of the whole process, off again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

# The public API of TensorFlow can only switch it on.
from tensorflow.python.framework import config

from trainer.distribute import devices


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Wraps a block that starts without determinism; restores it afterwards."""
    enabled = config.is_op_determinism_enabled()
    remembered = devices._Process.deterministic
    _set(False, False)
    try:
        yield
    finally:
        _set(enabled, remembered)


def is_on() -> bool:
    """Returns whether op determinism is on."""
    return config.is_op_determinism_enabled()


def _set(enabled: bool, remembered: bool) -> None:
    if enabled:
        tf.config.experimental.enable_op_determinism()
    else:
        config.disable_op_determinism()
    devices._Process.deterministic = remembered
