"""One start of the command line in a forked process, watched and killed.

Importing TensorFlow takes far longer than a tiny run. A fork of a process
that has imported it, and has not let it make a context or devices, starts
where a fresh process stands after its imports.
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

# Told the phases as they begin.
Body = Callable[[Callable[[str], None]], None]
# No attempt of a tiny run takes this long, unless it hangs.
_TIMEOUT_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Entry:
    """A name that the child gave, and when (`time.monotonic`)."""

    name: str
    at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended.

    Attributes:
      status: as `subprocess` has it: 0, or minus the signal's number.
      entries: the names of the phases gone through, the last one last.
      end: when (`time.monotonic`).
    """

    status: int
    entries: tuple[Entry, ...]
    end: float

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.status == -signal.SIGKILL

    @property
    def phase(self) -> str:
        """The phase that it was in when it ended."""
        return self.entries[-1].name


class Attempt:
    """A forked child that names its phases as it goes."""

    def __init__(self, body: Body, log: pathlib.Path) -> None:
        """Forks.

        Args:
          body: what the child does, given a function that names its phase;
            when it returns, or exits, so does the child.
          log: file that gets what the child prints.
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
        """Waits for the `count`-th entry of a phase; False if it ended."""
        for entry in self._names(time.monotonic() + _TIMEOUT_SECONDS):
            count -= entry.name == name
            if not count:
                return True
        return False

    def wait_seconds(self, seconds: float) -> None:
        """Waits, or until it ended."""
        for _ in self._names(time.monotonic() + seconds, must_end=False):
            pass

    def kill(self) -> Ended:
        """SIGKILL, unless it ended by itself."""
        os.kill(self._pid, signal.SIGKILL)
        return self.end()

    def end(self) -> Ended:
        """Waits for its end."""
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
        """Entries as they come; ends with the child, or at `until`."""
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
        # A test's process has put others in their place.
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
        # Nothing of the parent's may run in the child.
        os._exit(status)


def _write_line(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{text}\n".encode())
