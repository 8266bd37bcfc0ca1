"""The metrics of a run, one JSON object per line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from trainer.errors import TrainerError, untrusted
from trainer.storage import files

# Seconds between two uploads of lines to a URL.
_FLUSH_SECONDS = 30.0


def _nothing() -> None:
    """Checks nothing: the default of a file that needs no lock."""


class MetricsFile:
    """metrics.jsonl: lines are appended, and cut back on a resume.

    Each checkpoint stores the `position` of its save. A resume cuts the file
    at that position, so no line is lost and none is written twice.

    An object behind a URL cannot be appended to. There, lines are buffered and
    the object is rewritten before each checkpoint, which asks for `position`,
    and whenever the last upload is old, so that the run can be watched. A kill
    loses only buffered lines, which a resume would have cut anyway.
    """

    def __init__(
        self,
        path: str,
        *,
        writes: bool = True,
        check: Callable[[], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Creates the file object; the file appears with its first line.

        Args:
          path: path or URL of the file.
          writes: False ignores every change, and `position` is 0.
          check: raises TrainerError if another process has taken the file.
          clock: returns seconds.
        """
        self.path = path
        self._writes = writes
        self._check = check
        self._clock = clock
        self._buffered: list[str] = []
        self._flushed_at = clock()

    def position(self) -> int:
        """Returns the size of the file in bytes, all of them synced to disk."""
        if not self._writes:
            return 0
        self.flush()
        if not files.exists(self.path):
            return 0
        return files.synced_size(self.path)

    def cut(self, position: int) -> None:
        """Drops everything after the first `position` bytes."""
        if self.position() > position:
            files.truncate(self.path, position)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line; behind a URL it may be buffered."""
        if not self._writes:
            return
        text = json.dumps(line) + "\n"
        if not files.is_remote(self.path):
            files.append_text(self.path, text)
            return
        self._buffered.append(text)
        if self._clock() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the buffered lines.

        Raises:
          TrainerError: another process has taken the file.
        """
        if self._buffered:
            self._check()
            files.append_text(self.path, "".join(self._buffered))
            self._buffered.clear()
        self._flushed_at = self._clock()

    def close(self) -> None:
        """Writes the buffered lines; ignores errors."""
        with contextlib.suppress(OSError, TrainerError):
            self.flush()

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines of the file, parsed.

        Raises:
          TrainerError: the file cannot be read.
        """
        if not files.exists(self.path):
            return []
        with untrusted(self.path, "restore it, or use another --workdir"):
            text = files.read_text(self.path)
            return [dict(json.loads(line)) for line in text.splitlines()]
