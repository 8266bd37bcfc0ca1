"""Standard streams that are closed, full, or a terminal that is gone."""

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

    Else the next file that is opened takes its number, and what libraries
    print ends up in that file. Call before any file is opened.
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
    """A text stream that says what it is when it cannot be written."""

    def __init__(
        self, stream: TextIO, failed: Callable[[OSError], None]
    ) -> None:
        """Args:
        stream: what is written to.
        failed: told of an error, once; from then on nothing is written.
        """
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        """Writes a text; see `io.TextIOBase.write`."""
        self._guarded(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes out what is buffered; see `io.TextIOBase.flush`."""
        self._guarded(self._stream.flush)

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except BrokenPipeError:
            raise
        except OSError as error:
            # What is still buffered has to go somewhere at the end.
            _silence(self._stream)
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Names standard output in errors of writing to it.

    On a terminal that is gone neither stream is an error: the signal that
    comes with that has the run save and stop. Standard error never is.
    """

    def failed(error: OSError) -> None:
        if error.errno != errno.EIO:
            raise TrainerError(
                f"standard output: cannot be written to ({reason_of(error)});"
                " make room, or send it elsewhere"
            ) from None

    sys.stdout = _Guarded(sys.stdout, failed)
    sys.stderr = _Guarded(sys.stderr, lambda error: None)


def _silence(stream: TextIO) -> None:
    """Sends what is written to a stream to the null device from now on."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def finish() -> TrainerError | None:
    """Writes out standard output before the process ends.

    Returns:
      The error, if that cannot be done.
    """
    try:
        sys.stdout.flush()
    except TrainerError as error:
        return error
    except BrokenPipeError:
        _silence(sys.stdout)
    return None
