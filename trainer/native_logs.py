"""Hides the log of TensorFlow's native libraries from the terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_notes_hidden(hide: bool = True) -> Iterator[None]:
    """Hides standard error during this block, and shows it if the block fails.

    TensorFlow's libraries log facts (CPU instructions, missing CUDA) before
    their log level takes effect. These lines would hide this program's own.
    After the block, their log level is 2 unless the environment sets another.

    Args:
      hide: if False, the block runs unchanged.
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
            # Not `sys.stderr`, which may be replaced, as in a notebook.
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
