"""The clock that locks use; tests replace it by one that they control."""

from __future__ import annotations

import threading
import time


class Clock:
    """The monotonic clock of this process, in seconds."""

    def now(self) -> float:
        """Returns the time in seconds; only differences are meaningful."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits for a number of seconds."""
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits at most `seconds` for an event; returns whether it is set."""
        return event.wait(seconds)


CLOCK = Clock()
