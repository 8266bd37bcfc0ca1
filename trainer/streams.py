"""Handles standard streams that are closed or cannot be written to."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from trainer.errors import TrainerError, reason_of

_NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Opens the null device for each standard stream that is closed.

    Otherwise the next opened file would get the stream's file descriptor, and
    libraries would log into that file. Call before opening any file.
    """
    for fd, name in enumerate(_NAMES):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "w" if fd else "r"
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


class _Guarded:
    """A text stream that reports its first write error and drops later text."""

    def __init__(
        self, stream: TextIO, failed: Callable[[OSError], None]
    ) -> None:
        """Wraps a stream.

        Args:
          stream: the stream to write to.
          failed: called with the first error.
        """
        self._stream = stream
        self._failed = failed

    def write(self, text: str) -> int:
        """Writes a text; see `io.TextIOBase.write`."""
        self._guarded(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes the buffer; see `io.TextIOBase.flush`."""
        self._guarded(self._stream.flush)

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except BrokenPipeError:
            raise
        except OSError as error:
            # Python flushes the rest of the buffer at exit, which must not
            # fail again.
            _silence(self._stream)
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Turns write errors of standard output into a TrainerError.

    A closed terminal is not an error: SIGHUP already makes the run save and
    stop. Write errors of standard error are ignored.
    """

    def failed(error: OSError) -> None:
        if error.errno != errno.EIO:
            raise TrainerError(
                f"standard output: cannot be written to ({reason_of(error)});"
                " free some space, or redirect it elsewhere"
            ) from None

    sys.stdout = _Guarded(sys.stdout, failed)
    sys.stderr = _Guarded(sys.stderr, lambda error: None)


def _silence(stream: TextIO) -> None:
    """Redirects a stream to the null device."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def finish() -> TrainerError | None:
    """Flushes standard output before the process ends.

    Returns:
      The error if standard output cannot be written to; otherwise None.
    """
    try:
        sys.stdout.flush()
    except TrainerError as error:
        return error
    except BrokenPipeError:
        _silence(sys.stdout)
    return None
