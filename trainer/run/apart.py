"""Runs a function in a process of its own, and waits for its answer.

So the memory of TensorFlow is returned after each call, and a crash ends only
one. `ask` starts the process; `serve` is what the process runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from trainer import interrupt
from trainer.errors import TrainerError, UsageError, reason_of, shortened
from trainer.native_logs import native_notes_hidden

# After SIGTERM, a process gets this long to leave its native code.
GRACE_SECONDS = 5.0


class OutOfTimeError(Exception):
    """Raised by `ask` if the time is over; the process has saved and ended."""


class Process:
    """A process that waits for a job."""

    def __init__(self, module: str) -> None:
        """Starts the process.

        Args:
          module: the module to run, which calls `serve`.
        """
        read_end, write_end = os.pipe()
        root = str(pathlib.Path(__file__).resolve().parents[2])
        path = os.pathsep.join(
            filter(None, (root, os.environ.get("PYTHONPATH")))
        )
        self._answers = os.fdopen(read_end, "rb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(write_end)],
            stdin=subprocess.PIPE,
            pass_fds=(write_end,),
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C in the terminal reaches only the caller, which ends this
            # one.
            start_new_session=True,
        )
        os.close(write_end)

    def ask(
        self, job: Any, *, limit_seconds: float | None = None
    ) -> Mapping[str, Any]:
        """Sends a job, and waits for its answer; see the function `ask`."""
        assert self._process.stdin is not None
        with _limited(self._process, limit_seconds) as late:
            _send(self._process.stdin, job)
            answer = self._answers.read()
        status = self._process.wait()
        if not answer and late.is_set():
            raise OutOfTimeError
        return _parsed(answer, status)

    def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ends the process, which may still work on its job."""
        _end(self._process, grace_seconds)
        self._answers.close()

    def kill(self) -> None:
        """Ends the process, which has no job yet."""
        self._process.kill()
        self.end()


def ask(
    module: str,
    job: Any,
    *,
    limit_seconds: float | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Mapping[str, Any]:
    """Runs a job in a new process, and waits for its answer.

    Args:
      module: the module to run, which calls `serve`.
      job: an argument that can be pickled.
      limit_seconds: the time after which the process gets SIGTERM; None for
        no limit. The caller waits until it has saved.
      grace_seconds: the time that it has to save if the caller is stopped,
        before it is killed.

    Returns:
      The answer, JSON values.

    Raises:
      OutOfTimeError: the time was over before there was an answer.
      Stopped: a signal arrived; the process is ended first.
      UsageError, TrainerError: the process raised one, or sent no answer.
    """
    process = Process(module)
    try:
        return process.ask(job, limit_seconds=limit_seconds)
    finally:
        process.end(grace_seconds)


@contextlib.contextmanager
def _limited(
    process: subprocess.Popen[bytes], seconds: float | None
) -> Iterator[threading.Event]:
    """Ends a process after some seconds, unless the block ends before.

    Yields:
      An event that is set when the process gets the signal.
    """
    late = threading.Event()
    if seconds is None:
        yield late
        return

    def stop() -> None:
        late.set()
        process.terminate()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _send(stream: IO[bytes], job: Any) -> None:
    # If the process has ended, its status says why.
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(job, stream)
        stream.flush()


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ends a process that may still run."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _parsed(answer: bytes, status: int) -> Mapping[str, Any]:
    """Returns the answer of a process.

    Raises:
      UsageError, TrainerError: it has sent an error, or nothing.
    """
    try:
        values = dict(json.loads(answer))
    except ValueError:
        how = f"exited with status {status}"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        raise TrainerError(
            f"its process {how}; if memory was short, give a smaller"
            " --image_size"
        ) from None
    # An answer may have an empty error of its own.
    if values.get("raised"):
        error = UsageError if values["raised"] == "usage" else TrainerError
        raise error(str(values["error"]))
    return values


def serve(load: Callable[[], Callable[[Any], Mapping[str, Any]]]) -> None:
    """Reads a job from standard input, runs it, sends its answer, and exits.

    The caller keeps standard input open. When it closes, the caller is gone,
    and this process exits. The answer goes to a pipe, whose number is the
    argument of the process.

    Args:
      load: imports what runs a job, TensorFlow included, and returns it.
    """
    status = 0
    try:
        with interrupt.watched():
            _serve(load, int(sys.argv[1]))
    except interrupt.Stopped as stopped:
        status = stopped.exit_status
    sys.stdout.flush()
    # TensorFlow's threads may still call Python, and would deadlock at exit.
    os._exit(status)


def _serve(
    load: Callable[[], Callable[[Any], Mapping[str, Any]]], result_fd: int
) -> None:
    with native_notes_hidden():
        # Imports TensorFlow, which logs, before there is a job.
        run = load()
    try:
        job = pickle.load(sys.stdin.buffer)
    except EOFError:
        # The caller is gone.
        return
    threading.Thread(target=_exit_with_caller, daemon=True).start()
    # Native notes of a block that fails are shown, so the errors are caught
    # inside.
    with native_notes_hidden():
        values = _values(lambda: run(job))
    with os.fdopen(result_fd, "w", encoding="utf-8") as stream:
        json.dump(values, stream)


def _values(run: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the answer, or the error as JSON values."""
    try:
        return run()
    except UsageError as error:
        return {"raised": "usage", "error": str(error)}
    except TrainerError as error:
        return {"raised": "failure", "error": str(error)}
    except Exception as error:
        text = f"{type(error).__name__}: {reason_of(error)}"
        return {"raised": "failure", "error": shortened(text)}


def _exit_with_caller() -> None:
    """Exits when the caller is gone, even if it was killed."""
    sys.stdin.buffer.read()
    os._exit(1)
