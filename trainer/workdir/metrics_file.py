"""The metrics of a run, one JSON object per line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from trainer.errors import TrainerError, untrusted
from trainer.storage import files

# Time between two uploads to a URL.
_FLUSH_SECONDS = 30.0


def _nothing() -> None:
    """Does nothing; the default check, for a file that needs no lock."""


class MetricsFile:
    """The file metrics.jsonl, which is truncated when a run resumes.

    Each checkpoint stores `position` at the time of its save. A resumed run
    truncates the file to that position, so no line is lost or written twice.

    Object storage (a URL) has no append. There, lines are buffered, and the
    whole object is rewritten before each checkpoint and every 30 s, so that the
    run can be monitored. A kill loses only buffered lines, which a resumed run
    would have removed anyway.
    """

    def __init__(
        self,
        path: str,
        *,
        writes: bool = True,
        check: Callable[[], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Creates the object; the first line creates the file.

        Args:
          path: path or URL of the file.
          writes: if False, nothing is written and `position` is 0.
          check: raises TrainerError if another process has taken over the
            workdir; called before each upload to a URL.
          clock: returns seconds.
        """
        self.path = path
        self._writes = writes
        self._check = check
        self._clock = clock
        self._buffered: list[str] = []
        self._flushed_at = clock()

    def position(self) -> int:
        """Writes the buffered lines, syncs them to disk, returns the size.

        Returns:
          The size of the file in bytes.

        Raises:
          TrainerError: another process has taken over the workdir.
        """
        if not self._writes:
            return 0
        self.flush()
        if not files.exists(self.path):
            return 0
        return files.synced_size(self.path)

    def cut(self, position: int) -> None:
        """Truncates the file to its first `position` bytes."""
        if self.position() > position:
            files.truncate(self.path, position)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line; buffers it if the file is at a URL."""
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
          TrainerError: another process has taken over the workdir.
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
