"""SIGTERM and Ctrl-C: save first, then go.

Signals belong to the process, so what was asked for is kept in this module.
While the weights are in order and on disk a signal ends the run at once; in a
`deferred` block it is only noted, and `check` ends the run where the block
has come to a point to save at. A second Ctrl-C ends it whatever is going on.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """The process was asked to end; no error, and not to be caught as one.

    Attributes:
      signum: SIGTERM or SIGINT.
      exit_status: 128 + the signal's number, as shells have it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_status = 128 + signum


class _Watch:
    """What was asked for, and whether to wait with it."""

    pending: int | None = None
    deferring = 0


def _handle(signum: int, frame: FrameType | None) -> None:
    del frame
    again = _Watch.pending is not None and signum == signal.SIGINT
    _Watch.pending = signum
    if again or not _Watch.deferring:
        raise Stopped(signum)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Handles both signals in this block; for the main thread of a process."""
    _Watch.pending = None
    before = {number: signal.signal(number, _handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Watch.pending = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A block in which a signal waits for the next `check`."""
    _Watch.deferring += 1
    try:
        yield
    finally:
        _Watch.deferring -= 1


def check() -> None:
    """Ends the run if that was asked for.

    Raises:
      Stopped: it was.
    """
    if _Watch.pending is not None:
        raise Stopped(_Watch.pending)


def requested() -> bool:
    """Whether the end of the run was asked for and is waited with."""
    return _Watch.pending is not None
