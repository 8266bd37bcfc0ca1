"""Starts a process that measures one backbone, and waits for it.

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
from typing import IO

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


def measure_apart(job: Job) -> Row:
    """Measures a backbone in a new process, and waits for it.

    Raises:
      Stopped: a signal arrived; the process is ended first.
      TrainerError: the backbone could not be measured.
    """
    read_end, write_end = os.pipe()
    root = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", _MODULE, str(write_end)],
        stdin=subprocess.PIPE,
        pass_fds=(write_end,),
        env={**os.environ, "PYTHONPATH": path},
        # Ctrl-C in the terminal reaches only the caller, which ends this one.
        start_new_session=True,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as results:
            assert process.stdin is not None
            _send(process.stdin, job)
            answer = results.read()
        status = process.wait()
    finally:
        _end(process)
    return _row(answer, status)


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
