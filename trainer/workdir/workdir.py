"""The folder of a run and its files.

workdir.json     marks the folder as a workdir of this program
config.json      the flags of each stage's run, and facts about the machine
manifest.json    the samples of each split
duplicates.csv   images that are in several splits or have several labels
backbone.json    the backbone's architecture
metrics.jsonl    training and validation metrics at absolute steps
head_path.json   the cross-validation of a head that was solved exactly
events.jsonl     starts, stops, saves and warnings
lock             the process that now trains in the folder
result.json      the metrics of the finished run
predictions.csv  the prediction for each test sample of the finished run
report.html      the finished run on one page
lr_find.json     the learning-rate sweep of --stage=lr_find
out_of_fold.csv  the predictions for the fold that the run is validated on
checkpoints/STAGE/{last,best}/
checkpoints/frozen/weights/  the weights that the first stage does not train
tensorboard/{train,validation}/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Collection
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
from trainer.workdir.metrics_file import MetricsFile

MARKER = "workdir.json"
CONFIG = "config.json"
MANIFEST = "manifest.json"
BACKBONE = "backbone.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
HEAD_PATH = "head_path.json"
PREDICTIONS = "predictions.csv"
HEAD_CHART = "head_path.svg"
REPORT = "report.html"
EVALUATION = "evaluation.json"
EXPORT_FOLDER = "export"
TENSORBOARD = "tensorboard"
LOCK = "lock"
_MARK = {"program": "transfer-trainer", "format": 1}
# A recent partial file may belong to --stage=evaluate, which takes no lock and
# writes each file in less than this time.
_STALE_SECONDS = 60.0


class Workdir:
    """The files of one run; each file is complete or missing.

    If several processes share the folder, all of them read it, and only the
    chief writes. On the other processes, methods that change a file do nothing.
    """

    def __init__(self, path: str, processes: Processes = ALONE) -> None:
        """Creates the object; `create` creates the folder.

        Args:
          path: path or URL of the folder.
          processes: the processes that share the folder.
        """
        self.path = path
        self.processes = processes
        self._check: Callable[[], None] | None = None
        self._metrics: MetricsFile | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes to the folder."""
        return self.processes.is_chief

    def create(self) -> bool:
        """Creates and marks the folder, and checks that it is writable.

        Returns:
          Whether the folder is new; False on processes other than the chief.

        Raises:
          UsageError: the folder holds files but is not a workdir.
          TrainerError: the folder is not writable, or another process does
            not see it.
        """
        new = self.processes.by_chief(self._create)
        if not files.is_dir(self.path):
            raise TrainerError(
                f"--workdir={self.path!r}: created by one process but missing"
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
        """Marks the folder as a workdir if it is empty or already a workdir.

        Raises:
          UsageError: the folder holds other files, which a run could overwrite.
        """
        if self._is_marked():
            return
        strange = [
            name
            for name in files.names(self.path)
            if name != MARKER and not files.is_partial(name)
        ]
        # Checked again, because another process may have just marked it.
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
        """Returns whether the workdir is of a version without marker files."""
        names = [CONFIG]
        for seed in files.names(self.path):
            # A study has a workdir for each of its models.
            if re.fullmatch(r"seed\d+", seed):
                models = files.names(self.file(seed))
                names += [os.path.join(seed, m, CONFIG) for m in models]
        found = [config for name in names if (config := self._peek(name))]
        return any(
            config.get("config", {}).get("stage") in STAGES for config in found
        )

    def _peek(self, name: str) -> dict[str, Any] | None:
        """Returns a JSON file's content; None if missing or invalid."""
        try:
            return self.read_json(name)
        except TrainerError:
            return None

    def _check_no_links(self) -> None:
        """Checks that no checkpoint file is a link, which TensorFlow follows.

        Raises:
          OSError: a checkpoint file is a link.
        """
        for stage in files.names(self.file("checkpoints")):
            for which in files.names(self.file("checkpoints", stage)):
                files.check_no_links(self.checkpoints(stage, which))

    def remove_partial(self) -> None:
        """Removes partly written files of killed processes.

        Call with the lock held. Processes without the lock write only directly
        into the folder, so recent files there are not removed.
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
        """Sets the check of the folder's lock; None if no lock is held.

        Args:
          check: raises TrainerError if the lock was lost.
        """
        self._check = check

    def check_held(self) -> None:
        """Checks that the lock on the folder is still held.

        Call before every save. Does nothing if no lock was taken.

        Raises:
          TrainerError: the lock was lost.
        """
        if self._check is not None:
            self._check()

    def remove_if_empty(self) -> None:
        """Removes the folder if it holds only its marker."""
        if self.writes:
            with contextlib.suppress(OSError):
                if files.names(self.path) == [MARKER]:
                    files.remove(self.file(MARKER))
                files.remove_empty(self.path)

    def require(self, flag: str) -> None:
        """Checks that the folder exists.

        Args:
          flag: the flag that names the folder, for the message.

        Raises:
          UsageError: the folder is missing.
        """
        if not files.is_dir(self.path):
            raise UsageError(
                f"--{flag}={self.path!r}: no such folder; give the workdir"
                " of an earlier run"
            )

    def check_holds_only(self, names: Collection[str], stage: str) -> None:
        """Checks that a folder is new, or was left by a stopped start.

        Args:
          names: the files that an earlier start may have left.
          stage: the stage that needs the folder, for the message.

        Raises:
          TrainerError: the folder holds something else, such as a run.
        """
        expected = {MARKER, LOCK, EVENTS, *names}
        for name in files.names(self.path):
            if name not in expected and not files.is_partial(name):
                raise TrainerError(
                    f"--workdir={self.path!r}: holds {name!r}, but {stage}"
                    " needs a folder without a run; give a new one"
                )

    def file(self, *parts: str) -> str:
        """Returns the path of a file or folder in the workdir."""
        return os.path.join(self.path, *parts)

    def has(self, path: str | None) -> bool:
        """Returns whether a path is in the folder."""
        return (path or "").startswith(self.file(""))

    def checkpoints(self, stage: str, which: str) -> str:
        """Returns the folder of a stage's `last` or `best` checkpoints."""
        return self.file("checkpoints", stage, which)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Returns the content of a JSON file; None if the file is missing.

        Raises:
          TrainerError: the file cannot be read, or its content does not have
            the shape in `stored.SHAPES`.
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
        """Replaces a JSON file atomically."""
        self.write_text(name, json.dumps(values, indent=2, ensure_ascii=False))

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file atomically."""
        if not self.writes:
            return
        self.check_held()
        files.write_text(self.file(name), text)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replaces a file atomically."""
        if not self.writes:
            return
        self.check_held()
        files.write_bytes(self.file(name), data)

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        if self.writes and files.exists(self.file(name)):
            files.remove(self.file(name))

    def event(self, event: str, **values: Any) -> None:
        """Appends a line with the wall time to events.jsonl."""
        if not self.writes:
            return
        line = {"event": event, "time": round(time.time(), 3), **values}
        files.append_text(
            self.file(EVENTS), json.dumps(line, ensure_ascii=False) + "\n"
        )

    def warn(self, text: str) -> None:
        """Prints a warning, and appends it to events.jsonl if possible."""
        print(f"warning: {one_line(text)}", flush=True)
        if files.is_remote(self.path) and self._check is None:
            # Appending to an object rewrites it, which the process that holds
            # the lock may be doing at the same time.
            return
        with contextlib.suppress(OSError):
            self.event("warning", text=text)

    def metrics(self) -> MetricsFile:
        """Returns the metrics file, the same object on every call."""
        if self._metrics is None:
            self._metrics = MetricsFile(
                self.file(METRICS), writes=self.writes, check=self.check_held
            )
        return self._metrics
