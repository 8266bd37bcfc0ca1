"""The clock that locks wait by; tests replace it by one that they move."""

from __future__ import annotations

import threading
import time


class Clock:
    """The monotonic clock of this process, in seconds."""

    def now(self) -> float:
        """Returns the time; only differences are meaningful."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits at most `seconds` for an event; returns whether it is set."""
        return event.wait(seconds)


CLOCK = Clock()
