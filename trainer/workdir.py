"""The folder of a run: what is in it, and how it is written.

config.json      what each stage's run was asked for, and on what machine
manifest.json    the samples of each split
backbone.json    the backbone's architecture
metrics.jsonl    training and validation figures at absolute steps
events.jsonl     starts, stops, saves, warnings
lock             of the process that trains here now
result.json      the figures of the finished run
checkpoints/STAGE/{last,best}/
tensorboard/{train,validation}/
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from trainer.errors import TrainerError, UsageError, one_line
from trainer.holder import unwritable
from trainer.processes import ALONE, Processes

CONFIG = "config.json"
MANIFEST = "manifest.json"
BACKBONE = "backbone.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
EVALUATION = "evaluation.json"
EXPORT_FOLDER = "export"
LOCK = "lock"


class Workdir:
    """Reads and writes the files of one run; a file is whole or not there.

    Of several processes that share it, all read and the chief alone writes:
    on the others, what would change a file does nothing.
    """

    def __init__(self, path: str, processes: Processes = ALONE) -> None:
        self.path, self.processes = path, processes
        self._check: Callable[[], None] | None = None

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.processes.is_chief

    def create(self) -> bool:
        """Makes the folder and proves that it can be written to.

        Returns:
          Whether it was not there before, on the process that writes.

        Raises:
          TrainerError: it cannot; or another process does not see it.
        """
        new = self.processes.by_chief(self._create)
        if not os.path.isdir(self.path):
            raise TrainerError(
                f"--workdir={self.path!r}: made by one process, and not there"
                " for another; give a folder that all of them share"
            )
        return bool(new)

    def _create(self) -> bool:
        new = not os.path.isdir(self.path)
        try:
            os.makedirs(self.path, exist_ok=True)
            probe = self.file(f".probe-{os.getpid()}")
            with open(probe, "w") as stream:
                stream.write("probe")
            os.remove(probe)
        except OSError as error:
            raise unwritable(self.path, error.strerror) from None
        return new

    def hold(self, check: Callable[[], None] | None) -> None:
        """Has `check` raise where the folder's lock is lost; None: no lock."""
        self._check = check

    def check_held(self) -> None:
        """Raises TrainerError where a lock on the folder was lost.

        To be called before anything is saved. Who took no lock may write.
        """
        if self._check is not None:
            self._check()

    def remove_if_empty(self) -> None:
        """Takes back a folder that nothing was written to."""
        if self.writes:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)

    def require(self, flag: str) -> None:
        """Raises UsageError, naming the flag, where the folder is missing."""
        if not os.path.isdir(self.path):
            raise UsageError(
                f"--{flag}={self.path!r}: no such folder; give the workdir"
                " of an earlier run"
            )

    def file(self, *parts: str) -> str:
        """The path of something in the folder."""
        return os.path.join(self.path, *parts)

    def has(self, path: str | None) -> bool:
        """Whether a path leads into the folder."""
        return (path or "").startswith(self.file(""))

    def checkpoints(self, stage: str, kind: str) -> str:
        """The folder of a stage's `last` or `best` checkpoints."""
        return self.file("checkpoints", stage, kind)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What a JSON file holds; None where there is none.

        Raises:
          TrainerError: the file is there and cannot be read.
        """
        path = self.file(name)
        try:
            with open(path, encoding="utf-8") as stream:
                return json.load(stream)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise TrainerError(
                f"{path}: cannot be read ({error}); restore it, or start in"
                " another --workdir"
            ) from None

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Replaces a JSON file in one move."""
        self.write_text(name, json.dumps(values, indent=2, ensure_ascii=False))

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file in one move."""
        if not self.writes:
            return
        self.check_held()
        path = self.file(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}.partial"
        # Of bytes in a path that are no text this makes JSON's own escapes.
        with open(
            partial, "w", encoding="utf-8", errors="backslashreplace"
        ) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)

    def remove(self, name: str) -> None:
        """Removes a file where there is one."""
        if self.writes and os.path.exists(self.file(name)):
            os.remove(self.file(name))

    def event(self, event: str, **values: Any) -> None:
        """Appends to events.jsonl, with the wall time."""
        if not self.writes:
            return
        line = {"event": event, "time": round(time.time(), 3), **values}
        with open(
            self.file(EVENTS),
            "a",
            encoding="utf-8",
            errors="backslashreplace",
        ) as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def warn(self, text: str) -> None:
        """Says it, and keeps it in events.jsonl if that can be written to."""
        print(f"warning: {one_line(text)}", flush=True)
        with contextlib.suppress(OSError):
            self.event("warning", text=text)

    def metrics(self) -> MetricsFile:
        """The file of figures."""
        return MetricsFile(self.file(METRICS), writes=self.writes)


class MetricsFile:
    """metrics.jsonl: appended to, and cut where a checkpoint was written.

    A checkpoint remembers `position`; going on from it cuts the file there,
    so that no line is lost and none is written twice.
    """

    def __init__(self, path: str, *, writes: bool = True) -> None:
        """Args:
        path: of the file.
        writes: False changes nothing, and knows of no position.
        """
        self.path, self._writes = path, writes

    def position(self) -> int:
        """Bytes that are safely on disk."""
        if not self._writes or not os.path.exists(self.path):
            return 0
        with open(self.path, "rb+") as stream:
            os.fsync(stream.fileno())
        return os.path.getsize(self.path)

    def cut(self, position: int) -> None:
        """Drops what was written after `position` bytes."""
        if os.path.exists(self.path) and self.position() > position:
            os.truncate(self.path, position)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line."""
        if not self._writes:
            return
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines so far."""
        if not os.path.exists(self.path):
            return
        with open(self.path, encoding="utf-8") as stream:
            for text in stream:
                yield json.loads(text)
