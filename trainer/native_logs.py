"""Keeps the notes of TensorFlow's native libraries off the terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_notes_hidden(hide: bool = True) -> Iterator[None]:
    """Holds back what the process writes to standard error.

    TensorFlow's libraries write notes there (which CPU instructions, which
    CUDA is missing) before any log level holds, and they would hide the one
    line that matters. Where the block fails, what was held back is shown.
    From then on the log level holds, which the environment may set otherwise.

    Args:
      hide: False changes nothing.
    """
    if not hide:
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(kept)
            held.seek(0)
            # Not through `sys.stderr`, which a notebook replaces.
            with open(2, "wb", closefd=False) as stream:
                shutil.copyfileobj(held, stream)
            raise
        _restore(kept)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()


def _restore(kept: int) -> None:
    _flush()
    os.dup2(kept, 2)
    os.close(kept)
