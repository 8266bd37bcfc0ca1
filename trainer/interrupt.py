"""SIGTERM, SIGHUP and Ctrl-C: save first, then go.

Signals belong to the process, so what was asked for is kept in this module.
While the weights are in order and on disk a signal ends the run at once; in a
`deferred` block it is only noted, and `check` ends the run where the block
has come to a point to save at. A second Ctrl-C ends it whatever is going on.
Where several processes share a run, a signal to one of them counts for all.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The terminal is gone, or the connection to it; not on Windows.
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
HANGUP_STATUS = 128 + int(_HANGUP or 1)


class Stopped(BaseException):
    """The process was asked to end; no error, and not to be caught as one.

    Attributes:
      signum: SIGTERM, SIGINT or SIGHUP.
      exit_status: 128 + the signal's number, as shells have it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_status = 128 + signum


class _Watch:
    """What was asked for, and whether to wait with it.

    Attributes:
      signals: those whose handlers are in place.
      pending: a signal that has come to this process.
      deferring: deferred blocks around.
      share: a process's signal, or 0, to one of all processes; if shared.
      agreed: what all processes have found to be asked for.
    """

    signals: tuple[int, ...] = ()
    pending: int | None = None
    deferring = 0
    share: Callable[[int], int] | None = None
    agreed: int | None = None


def _handle(signum: int, frame: FrameType | None) -> None:
    del frame
    again = _Watch.pending is not None and signum == signal.SIGINT
    _Watch.pending = signum
    if again or not _Watch.deferring:
        raise Stopped(signum)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Handles the signals in this block; for the main thread of a process.

    SIGHUP is left ignored where it is, as `nohup` has it.
    """
    _Watch.pending = None
    numbers: tuple[int, ...] = _SIGNALS
    if _HANGUP and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        numbers = (*numbers, _HANGUP)
    before = {number: signal.signal(number, _handle) for number in numbers}
    _Watch.signals = numbers
    try:
        yield
    finally:
        _Watch.signals = ()
        for number, handler in before.items():
            signal.signal(number, handler)
        _Watch.pending = None


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A block in which a signal ends the process, whoever is waited for.

    Python hears of a signal only between two of its own instructions, and not
    at all once somebody else has taken it; so the handlers are put back.
    """
    numbers = _Watch.signals
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _handle)


@contextlib.contextmanager
def shared(share: Callable[[int], int]) -> Iterator[None]:
    """A block in which a signal to one process is found by all.

    In it all of them must call `check` and `requested` at the same points.

    Args:
      share: from the signal that has come to this process, or 0, to one that
        has come to any; waits for all processes.
    """
    _Watch.share, _Watch.agreed = share, None
    try:
        yield
    finally:
        _Watch.share = None


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
    signum = _asked_for()
    if signum is not None:
        raise Stopped(signum)


def requested() -> bool:
    """Whether the end of the run was asked for and is waited with."""
    return _asked_for() is not None


def _asked_for() -> int | None:
    if _Watch.share is None:
        return _Watch.pending
    if _Watch.agreed is None:
        _Watch.agreed = _Watch.share(_Watch.pending or 0) or None
    return _Watch.agreed
