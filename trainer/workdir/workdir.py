"""The folder of a run: what is in it, and how it is written.

workdir.json     says that the folder is a workdir of this program
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
import re
import time
from collections.abc import Callable
from typing import Any

from trainer.config.fields import STAGES
from trainer.distribute.processes import ALONE, Processes
from trainer.errors import (
    TrainerError,
    UsageError,
    one_line,
    reason_of,
    untrusted,
)
from trainer.storage import files
from trainer.workdir import stored
from trainer.workdir.holder import unwritable

MARKER = "workdir.json"
CONFIG = "config.json"
MANIFEST = "manifest.json"
BACKBONE = "backbone.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
EVALUATION = "evaluation.json"
EXPORT_FOLDER = "export"
LOCK = "lock"
_MARK = {"program": "transfer-trainer", "format": 1}
# `evaluate`, which takes no lock, writes a file in less than this.
_STALE_SECONDS = 60.0
# Between two times that figures are written behind a URL.
_FLUSH_SECONDS = 30.0


class Workdir:
    """Reads and writes the files of one run; a file is whole or not there.

    Of several processes that share it, all read and the chief alone writes:
    on the others, what would change a file does nothing.
    """

    def __init__(self, path: str, processes: Processes = ALONE) -> None:
        self.path, self.processes = path, processes
        self._check: Callable[[], None] | None = None
        self._metrics: MetricsFile | None = None

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.processes.is_chief

    def create(self) -> bool:
        """Makes the folder, marks it, and proves that it can be written to.

        Returns:
          Whether it was not there before, on the process that writes.

        Raises:
          UsageError: it holds other things than a run of this program.
          TrainerError: it cannot be written to; or another process does not
            see it.
        """
        new = self.processes.by_chief(self._create)
        if not files.is_dir(self.path):
            raise TrainerError(
                f"--workdir={self.path!r}: made by one process, and not there"
                " for another; give a folder that all of them share"
            )
        return bool(new)

    def _create(self) -> bool:
        new = not files.is_dir(self.path)
        try:
            files.make_dirs(self.path)
            self._claim()
            files.probe(self.path)
            self._check_no_links()
        except OSError as error:
            reason = reason_of(error)
            if isinstance(error, NotADirectoryError | PermissionError):
                raise unwritable(self.path, reason) from None
            where = f"{error.filename}: " if error.filename else ""
            raise unwritable(self.path, f"{where}{reason}") from None
        return new

    def _claim(self) -> None:
        """Marks the folder as a workdir, if it is empty or one already.

        Raises:
          UsageError: it holds other things, which a run could change.
        """
        if self._is_marked():
            return
        strange = [
            name
            for name in files.names(self.path)
            if name != MARKER and not files.is_partial(name)
        ]
        # Another process may have marked it just now.
        if strange and not self._is_marked() and not self._is_earlier():
            raise UsageError(
                f"--workdir={self.path!r}: holds {strange[0]!r} and no"
                f" {MARKER}, so it is not a workdir of this program; give a"
                " folder that is new or empty"
            )
        files.write_text(self.file(MARKER), json.dumps(_MARK) + "\n")

    def _is_marked(self) -> bool:
        mark = self._peek(MARKER)
        return mark is not None and mark["program"] == _MARK["program"]

    def _is_earlier(self) -> bool:
        """Whether a version that wrote no marker has worked here."""
        names = [CONFIG]
        for seed in files.names(self.path):
            # Of a study; each of its models has a workdir.
            if re.fullmatch(r"seed\d+", seed):
                models = files.names(self.file(seed))
                names += [os.path.join(seed, m, CONFIG) for m in models]
        found = [config for name in names if (config := self._peek(name))]
        return any(
            config.get("config", {}).get("stage") in STAGES for config in found
        )

    def _peek(self, name: str) -> dict[str, Any] | None:
        """Returns what a JSON file holds; None if it is missing or invalid."""
        try:
            return self.read_json(name)
        except TrainerError:
            return None

    def _check_no_links(self) -> None:
        """Checks that no checkpoint file is a link; TensorFlow follows them.

        Raises:
          OSError: one is.
        """
        for stage in files.names(self.file("checkpoints")):
            for which in files.names(self.file("checkpoints", stage)):
                files.check_no_links(self.checkpoints(stage, which))

    def remove_partial(self) -> None:
        """Removes what killed processes left of files they were writing.

        Call with the lock held: other processes write to the folder itself at
        most, and what is young there may be theirs.
        """
        if not self.writes or files.is_remote(self.path):
            return
        folders = {self.path: _STALE_SECONDS}
        for stage in files.names(self.file("checkpoints")):
            folders[self.file("checkpoints", stage)] = 0.0
        for folder, min_age in folders.items():
            for name in filter(files.is_partial, files.names(folder)):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    age = time.time() - files.stat(path).st_mtime_ns / 1e9
                    if files.is_file(path) and age >= min_age:
                        files.remove(path)

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
                if files.names(self.path) == [MARKER]:
                    files.remove(self.file(MARKER))
                files.remove_empty(self.path)

    def require(self, flag: str) -> None:
        """Raises UsageError, naming the flag, where the folder is missing."""
        if not files.is_dir(self.path):
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
        """Returns what a JSON file holds; None where there is none.

        Raises:
          TrainerError: the file is there, and cannot be read or does not hold
            what `stored.SHAPES` asks for.
        """
        path = self.file(name)
        with untrusted(path, "restore it, or use another --workdir"):
            try:
                size = files.stat(path).st_size
            except FileNotFoundError:
                return None
            if size > stored.MAX_BYTES:
                raise ValueError(f"has {size:,} bytes")
            return stored.parse(os.path.basename(name), files.read(path))

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Replaces a JSON file in one move."""
        self.write_text(name, json.dumps(values, indent=2, ensure_ascii=False))

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file in one move."""
        if not self.writes:
            return
        self.check_held()
        files.write_text(self.file(name), text)

    def remove(self, name: str) -> None:
        """Removes a file where there is one."""
        if self.writes and files.exists(self.file(name)):
            files.remove(self.file(name))

    def event(self, event: str, **values: Any) -> None:
        """Appends to events.jsonl, with the wall time."""
        if not self.writes:
            return
        line = {"event": event, "time": round(time.time(), 3), **values}
        files.append_text(
            self.file(EVENTS), json.dumps(line, ensure_ascii=False) + "\n"
        )

    def warn(self, text: str) -> None:
        """Says it, and keeps it in events.jsonl if that can be written to."""
        print(f"warning: {one_line(text)}", flush=True)
        if files.is_remote(self.path) and self._check is None:
            # An object is written anew to add to it, which whoever holds the
            # folder may do at the same time.
            return
        with contextlib.suppress(OSError):
            self.event("warning", text=text)

    def metrics(self) -> MetricsFile:
        """The file of figures, one for all who write to it."""
        if self._metrics is None:
            self._metrics = MetricsFile(
                self.file(METRICS), writes=self.writes, check=self.check_held
            )
        return self._metrics


class MetricsFile:
    """metrics.jsonl: appended to, and cut where a checkpoint was written.

    A checkpoint remembers `position`; going on from it cuts the file there,
    so that no line is lost and none is written twice.

    An object behind a URL cannot be appended to. There lines wait here and the
    object is written anew where its position is asked for, which is before
    every checkpoint, and where a line has waited for long, so that the run
    can be watched. Those that a kill takes belong to no checkpoint: they would
    have been cut.
    """

    def __init__(
        self,
        path: str,
        *,
        writes: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        path: of the file.
        writes: False changes nothing, and knows of no position.
        check: raises where the file is another process's by now.
        """
        self.path, self._writes, self._check = path, writes, check
        self._waiting: list[str] = []
        self._flushed = time.monotonic()

    def position(self) -> int:
        """Bytes that are safely on disk."""
        if not self._writes:
            return 0
        self.flush()
        if not files.exists(self.path):
            return 0
        return files.synced_size(self.path)

    def cut(self, position: int) -> None:
        """Drops what was written after `position` bytes."""
        if self.position() > position:
            files.truncate(self.path, position)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line."""
        if not self._writes:
            return
        text = json.dumps(line) + "\n"
        if not files.is_remote(self.path):
            files.append_text(self.path, text)
            return
        self._waiting.append(text)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the lines that wait.

        Raises:
          TrainerError: the file is another process's by now.
        """
        if self._waiting:
            self._check()
            files.append_text(self.path, "".join(self._waiting))
            self._waiting.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes the lines that wait, if that can be done."""
        with contextlib.suppress(OSError, TrainerError):
            self.flush()

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines so far.

        Raises:
          TrainerError: the file cannot be read.
        """
        if not files.exists(self.path):
            return []
        remedy = "restore it, or use another --workdir"
        with untrusted(self.path, remedy):
            text = files.read_text(self.path)
            return [dict(json.loads(line)) for line in text.splitlines()]
