"""One start of the command line in a forked process, watched and killed.

Importing TensorFlow takes far longer than a tiny run. So the parent imports it,
without creating a context or devices, and each fork of the parent starts in the
state of a new process after its imports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

# The program of a child: it calls its argument with the name of each phase.
Body = Callable[[Callable[[str], None]], None]
# An attempt of a tiny run that takes longer than this hangs.
_TIMEOUT_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Entry:
    """The name of a phase, and when it began (`time.monotonic`)."""

    name: str
    at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended.

    Attributes:
      status: the exit status, or minus the signal's number.
      entries: the phases in the order in which they began.
      end: time of the end (`time.monotonic`).
    """

    status: int
    entries: tuple[Entry, ...]
    end: float

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the attempt."""
        return self.status == -signal.SIGKILL

    @property
    def phase(self) -> str:
        """The phase in which the attempt ended."""
        return self.entries[-1].name


class Attempt:
    """A forked child that reports the name of each phase."""

    def __init__(self, body: Body, log: pathlib.Path) -> None:
        """Forks the child.

        Args:
          body: the program of the child, which ends when it returns. Its
            argument is a function that reports the name of a phase.
          log: file for the output of the child.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        self._entries: list[Entry] = []
        self._rest = b""
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._read)
            _be_child(body, write, log)
        os.close(write)

    def wait_for(self, name: str, count: int) -> bool:
        """Waits until a phase begins for the `count`-th time.

        Returns:
          False if the child has ended before.
        """
        for entry in self._names(time.monotonic() + _TIMEOUT_SECONDS):
            count -= entry.name == name
            if not count:
                return True
        return False

    def wait_seconds(self, seconds: float) -> None:
        """Waits for a time, or until the child has ended."""
        for _ in self._names(time.monotonic() + seconds, must_end=False):
            pass

    def kill(self) -> Ended:
        """Sends SIGKILL, which has no effect if the child has ended."""
        os.kill(self._pid, signal.SIGKILL)
        return self.end()

    def end(self) -> Ended:
        """Waits until the child has ended."""
        for _ in self._names(time.monotonic() + _TIMEOUT_SECONDS):
            pass
        _, status = os.waitpid(self._pid, 0)
        end = time.monotonic()
        os.close(self._read)
        return Ended(
            status=os.waitstatus_to_exitcode(status),
            entries=tuple(self._entries),
            end=end,
        )

    def _names(self, until: float, *, must_end: bool = True) -> Iterator[Entry]:
        """Yields entries as they arrive, until the child ends.

        Args:
          until: time at which to stop waiting.
          must_end: whether to kill the child then, and raise TimeoutError.
        """
        while True:
            left = until - time.monotonic()
            ready = left > 0 and select.select([self._read], [], [], left)[0]
            if not ready:
                if must_end:
                    os.kill(self._pid, signal.SIGKILL)
                    raise TimeoutError(
                        f"the child hangs in {self._entries[-1:]}"
                    )
                return
            data = os.read(self._read, 4096)
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                entry = Entry(line.decode(), time.monotonic())
                self._entries.append(entry)
                yield entry


def _be_child(body: Body, write: int, log: pathlib.Path) -> NoReturn:
    """Runs the body and ends the process, whatever happens."""
    status = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        # pytest has replaced both streams.
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8")
            for number in (1, 2)
        )
        try:
            body(lambda name: _write_line(write, name))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        # The parent's exit handlers must not run in the child.
        os._exit(status)


def _write_line(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{text}\n".encode())
