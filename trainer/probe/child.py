"""Starts processes that measure one backbone each, and waits for them.

So the memory of TensorFlow is returned after each backbone, and a crash ends
only one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
from typing import IO, Self

from trainer.data.training_split import TrainingSplit
from trainer.errors import TrainerError
from trainer.probe.candidates import Candidate
from trainer.probe.row import Row, row_from_json

_MODULE = "trainer.probe.serve"
# After SIGTERM, a process gets this long to leave its native code.
_GRACE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The arguments of one process; see `measure.measure`."""

    candidate: Candidate
    split: TrainingSplit
    key: str


class Processes:
    """Measures backbones one after another, each in a process of its own.

    While one measures, the next already imports TensorFlow.
    """

    def __init__(self, count: int) -> None:
        """Starts the first process.

        Args:
          count: number of backbones to measure, at most.
        """
        self._left = count
        self._next: _Process | None = None
        self._start_next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process that has nothing to measure."""
        if self._next is not None:
            self._next.kill()

    def measure(self, job: Job) -> Row:
        """Measures a backbone in a new process, and waits for it.

        Raises:
          Stopped: a signal arrived; the process is ended first.
          TrainerError: the backbone could not be measured.
        """
        process = self._next
        assert process is not None, "more backbones than counted"
        self._next = None
        try:
            self._start_next()
            return process.measure(job)
        finally:
            process.end()

    def _start_next(self) -> None:
        if self._left:
            self._left -= 1
            self._next = _Process()


class _Process:
    """A process that waits for a job."""

    def __init__(self) -> None:
        """Starts the process."""
        read_end, write_end = os.pipe()
        root = str(pathlib.Path(__file__).resolve().parents[2])
        path = os.pathsep.join(
            filter(None, (root, os.environ.get("PYTHONPATH")))
        )
        self._results = os.fdopen(read_end, "rb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(write_end)],
            stdin=subprocess.PIPE,
            pass_fds=(write_end,),
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C in the terminal reaches only the caller, which ends this
            # one.
            start_new_session=True,
        )
        os.close(write_end)

    def measure(self, job: Job) -> Row:
        """Sends a job, and returns its row; see `Processes.measure`."""
        assert self._process.stdin is not None
        _send(self._process.stdin, job)
        return _row(self._results.read(), self._process.wait())

    def end(self) -> None:
        """Ends the process, which may still measure."""
        _end(self._process)
        self._results.close()

    def kill(self) -> None:
        """Ends the process, which has no job yet."""
        self._process.kill()
        self.end()


def _send(stream: IO[bytes], job: Job) -> None:
    # If the process has ended, its status says why.
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(job, stream)
        stream.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that may still run."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _row(answer: bytes, status: int) -> Row:
    """Returns the row that a process has sent.

    Raises:
      TrainerError: it has sent an error, or nothing.
    """
    try:
        values = json.loads(answer)
    except ValueError:
        how = f"exited with status {status}"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        raise TrainerError(
            f"its process {how}; if memory was short, give a smaller"
            " --image_size"
        ) from None
    row = row_from_json(values)
    if row is None:
        raise TrainerError(str(values["error"]))
    return row
