"""A clock that tests move, so that no test depends on elapsed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trainer.workdir.clock import Clock

# Real seconds after which a test that waits for a thread fails.
_DEADLINE_SECONDS = 60.0


class ManualClock(Clock):
    """A clock at 0 s that moves only by `advance` and by `sleep`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._moved = threading.Condition()
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        """Returns the time in seconds."""
        return self._now

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Plans an action for a time; it runs in the thread that advances."""
        self._plans.append((seconds, action))
        self._plans.sort(key=lambda plan: plan[0])

    def advance(self, seconds: float) -> None:
        """Moves the clock and runs the actions planned for the way."""
        end = self._now + seconds
        while self._plans and self._plans[0][0] <= end:
            when, action = self._plans.pop(0)
            self._move(when)
            action()
        self._move(end)

    def sleep(self, seconds: float) -> None:
        """Moves the clock instead of waiting."""
        self.advance(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits until another thread has moved the clock or set the event."""
        end = self._now + seconds
        with self._moved:
            while self._now < end and not event.is_set():
                # Setting the event does not notify.
                self._moved.wait(0.01)
        return event.is_set()

    def advance_until(self, done: Callable[[], bool], step_secs: float) -> None:
        """Moves the clock in steps until another thread has done something.

        Args:
          done: returns whether the thread has done it.
          step_secs: seconds per step.
        """
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not done():
            assert time.monotonic() < deadline
            self.advance(step_secs)
            time.sleep(0.01)

    def _move(self, now: float) -> None:
        with self._moved:
            self._now = max(self._now, now)
            self._moved.notify_all()


def wait_until(done: Callable[[], bool]) -> None:
    """Waits, in real time, until another thread has done something."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
