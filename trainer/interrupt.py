"""Stops a run on SIGTERM, SIGHUP or Ctrl-C, after it has saved.

Outside a `deferred` block, a signal ends the run immediately. Inside such a
block, the signal is only recorded; the caller saves and then calls `check`,
which ends the run. A second Ctrl-C always ends the run immediately. If several
processes share a run, a signal to one of them stops all of them.

The state is global to this module, because signal handlers are global to the
process.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Sent when the terminal or its connection is closed; does not exist on Windows.
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
HANGUP_STATUS = 128 + int(_HANGUP or 1)


class Stopped(BaseException):
    """Raised to end the run after a signal; not an Exception.

    Attributes:
      signum: SIGTERM, SIGINT or SIGHUP.
      exit_status: 128 plus the number of the signal, as in a shell.
      shared: whether all processes of the job stop at the same point.
    """

    def __init__(self, signum: int, *, shared: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.shared = shared
        self.exit_status = 128 + signum


class _Watch:
    """The signals received, and whether to defer them.

    Attributes:
      signals: the signals for which `_handle` is installed.
      pending: the last signal that this process has received, if any.
      deferring: number of enclosing deferred blocks.
      share: the argument of `shared`; None outside a shared block.
      agreed: the signal that all processes have agreed on, if any.
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
    """Handles signals during this block. Must be called in the main thread.

    If SIGHUP is ignored, as under `nohup`, it stays ignored.
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
    """Wraps a block in which a signal kills the process immediately.

    Use it around native code that blocks: Python runs its handlers only after
    the native call has returned. After the block, the handlers are installed
    again, even if native code has replaced them.
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
    """Wraps a block in which a signal to one process stops all processes.

    In the block, all processes must call `check` and `requested` at the same
    points.

    Args:
      share: takes the number of the signal that this process has received, or
        0; waits for all processes; returns the number of a signal that one of
        them has received, or 0.
    """
    _Watch.share, _Watch.agreed = share, None
    try:
        yield
    finally:
        _Watch.share = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Wraps a block in which a signal waits for the next `check`."""
    _Watch.deferring += 1
    try:
        yield
    finally:
        _Watch.deferring -= 1


def check() -> None:
    """Raises `Stopped` if a signal was received.

    Raises:
      Stopped: a signal was received.
    """
    signum = _received()
    if signum is not None:
        raise Stopped(signum, shared=_Watch.share is not None)


def requested() -> bool:
    """Returns whether a signal was received, so that `check` would raise."""
    return _received() is not None


def _received() -> int | None:
    if _Watch.share is None:
        return _Watch.pending
    if _Watch.agreed is None:
        _Watch.agreed = _Watch.share(_Watch.pending or 0) or None
    return _Watch.agreed
