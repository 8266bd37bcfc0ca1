"""The process that measures one backbone; `child` starts it.

The caller sends a job to standard input and keeps that open. When it closes,
the caller is gone, and this process exits. The result goes to a pipe, whose
number is the argument.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainer import interrupt
from trainer.errors import TrainerError, reason_of, shortened
from trainer.native_logs import native_notes_hidden

if TYPE_CHECKING:
    from trainer.probe.row import Row


def _serve(result_fd: int) -> None:
    """Reads a job, measures, and sends the result."""
    with native_notes_hidden():
        # Imports TensorFlow, which logs, before there is a job.
        from trainer.probe.measure import measure
    try:
        job = pickle.load(sys.stdin.buffer)
    except EOFError:
        # The caller is gone.
        return
    threading.Thread(target=_exit_with_caller, daemon=True).start()
    # Native notes of a block that fails are shown, so the errors are caught
    # inside.
    with native_notes_hidden():
        values = _values(lambda: measure(job.candidate, job.split, job.key))
    with os.fdopen(result_fd, "w", encoding="utf-8") as stream:
        json.dump(values, stream)


def _values(run: Callable[[], Row]) -> dict[str, Any]:
    """Returns the row that is measured, or the error, as JSON values."""
    try:
        return run().to_json()
    except TrainerError as error:
        return {"error": str(error)}
    except Exception as error:
        text = f"{type(error).__name__}: {reason_of(error)}"
        return {"error": shortened(text)}


def _exit_with_caller() -> None:
    """Exits when the caller is gone, even if it was killed."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    STATUS = 0
    try:
        with interrupt.watched():
            _serve(int(sys.argv[1]))
    except interrupt.Stopped as stopped:
        STATUS = stopped.exit_status
    sys.stdout.flush()
    # TensorFlow's threads may still call Python, and would deadlock at exit.
    os._exit(STATUS)
