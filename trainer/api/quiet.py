"""Runs a stage inside another program: without output, and interruptible."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
import warnings
from collections.abc import Iterator

from trainer import interrupt

_MARK = "warning: "


class TrainerWarning(UserWarning):
    """A warning that the command line would print."""


class _Lines(io.TextIOBase):
    """Takes printed lines, and keeps the warnings among them.

    Attributes:
      warnings: their texts, in order.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._rest = ""

    def write(self, text: str) -> int:
        """Takes a part of a line, or several lines."""
        *lines, self._rest = (self._rest + text).split("\n")
        self.warnings += [
            line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)
        ]
        return len(text)


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Hides what is printed; warnings become Python warnings afterwards.

    Args:
      verbose: whether to print as the command line does.
    """
    if verbose:
        yield
        return
    lines = _Lines()
    try:
        with (
            contextlib.redirect_stdout(lines),
            contextlib.redirect_stderr(lines),
        ):
            yield
    finally:
        for text in lines.warnings:
            # The line that called `trainer.train` or another function.
            warnings.warn(text, TrainerWarning, stacklevel=5)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes Ctrl-C save before it raises `KeyboardInterrupt`.

    Python delivers signals to the main thread, so nothing changes in others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with interrupt.watched():
            yield
    except interrupt.Stopped as stopped:
        if stopped.signum == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(stopped.exit_status) from None
