"""Runs a function in its own process, and waits for the answer.

This frees TensorFlow's memory after each call, and a crash ends only that call.
`ask` starts the process; the process runs `serve`.
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
from trainer.native_memory import long_lived_imports

# After SIGTERM, a process gets this long to leave its native code.
GRACE_SECONDS = 5.0


class OutOfTimeError(Exception):
    """The time limit of `ask` has passed; the process has saved and ended."""


class Process:
    """A process that runs one job.

    It imports TensorFlow while it waits for the job.
    """

    def __init__(self, module: str) -> None:
        """Starts the process.

        Args:
          module: the module to run; it must call `serve`.
        """
        read_end, write_end = os.pipe()
        root = str(pathlib.Path(__file__).resolve().parents[2])
        path = os.pathsep.join(
            filter(None, (root, os.environ.get("PYTHONPATH")))
        )
        self._results = os.fdopen(read_end, "rb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(write_end)],
            stdin=subprocess.PIPE,
            pass_fds=(write_end,),
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C in the terminal reaches only the caller, which then ends
            # this process.
            start_new_session=True,
        )
        os.close(write_end)

    def ask(
        self,
        job: Any,
        *,
        limit_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> Mapping[str, Any]:
        """Sends the job to the process, and returns its answer.

        The process ends afterwards.

        Args:
          job: an argument that can be pickled.
          limit_seconds: the time after which the process gets SIGTERM; None
            for no limit. The call then waits until the process has saved.
          grace_seconds: if the caller is stopped, the time that the process
            has to save before it is killed.

        Returns:
          The answer, as JSON values.

        Raises:
          OutOfTimeError: the time limit passed before there was an answer.
          Stopped: a signal was received; the process is ended first.
          UsageError, TrainerError: the process raised it, or sent no answer.
        """
        process = self._process
        assert process.stdin is not None
        try:
            with self._results, _limited(process, limit_seconds) as late:
                _send(process.stdin, job)
                answer = self._results.read()
            status = process.wait()
        finally:
            _end(process, grace_seconds)
        if not answer and late.is_set():
            raise OutOfTimeError
        return _parsed(answer, status)

    def kill(self) -> None:
        """Kills a process that has received no job."""
        self._process.kill()
        _end(self._process, GRACE_SECONDS)
        self._results.close()


def ask(
    module: str,
    job: Any,
    *,
    limit_seconds: float | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Mapping[str, Any]:
    """Runs a job in a new process of a module; see `Process.ask`."""
    return Process(module).ask(
        job, limit_seconds=limit_seconds, grace_seconds=grace_seconds
    )


@contextlib.contextmanager
def _limited(
    process: subprocess.Popen[bytes], seconds: float | None
) -> Iterator[threading.Event]:
    """Sends SIGTERM to a process if the block takes longer than some seconds.

    Yields:
      An event that is set when the signal is sent.
    """
    late = threading.Event()
    if seconds is None:
        yield late
        return

    def stop() -> None:
        late.set()
        process.terminate()

    # A longer timer raises OverflowError in its thread.
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), stop)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _send(stream: IO[bytes], job: Any) -> None:
    # If the process has already ended, its exit status says why.
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(job, stream)
        stream.flush()


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ends a process, which may have ended already."""
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
      UsageError, TrainerError: the process sent an error, or no answer.
    """
    try:
        values = dict(json.loads(answer))
    except ValueError:
        how = f"exited with status {status}"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        raise TrainerError(
            f"its process {how}; if it ran out of memory, give a smaller"
            " --image_size"
        ) from None
    # A normal answer may contain an empty field `error`, so check `raised`.
    if values.get("raised"):
        error = UsageError if values["raised"] == "usage" else TrainerError
        raise error(str(values["error"]))
    return values


def serve(load: Callable[[], Callable[[Any], Mapping[str, Any]]]) -> None:
    """Reads a job from standard input, runs it, sends its answer, and exits.

    The caller keeps standard input open; when it closes, the caller has ended,
    and this process exits. The answer is written to the pipe whose file
    descriptor is the argument of the process.

    Args:
      load: imports and returns the function that runs a job.
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
    with native_notes_hidden(), long_lived_imports():
        # Imports TensorFlow, which writes logs, before the job arrives.
        run = load()
    try:
        job = pickle.load(sys.stdin.buffer)
    except EOFError:
        # The caller has ended.
        return
    threading.Thread(target=_exit_with_caller, daemon=True).start()
    # `native_notes_hidden` shows the notes if the block raises, so errors are
    # caught inside.
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
    """Exits when the caller ends, even if it is killed."""
    sys.stdin.buffer.read()
    os._exit(1)
