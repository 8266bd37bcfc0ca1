"""Reads the command line, and runs the stage that it names."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from trainer import interrupt, streams
from trainer.api.stages import run_stage
from trainer.command import flags
from trainer.command.tensorflow_import import import_tensorflow
from trainer.config import Config
from trainer.config.fields import (
    CHECK_DATA,
    FIT_STAGES,
    PROBE,
    SEARCH,
)
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, one_line


def main(argv: list[str]) -> None:
    """Runs the stage; on an error, prints one line and exits."""
    del argv  # The parser accepts flags only.
    # The terminal's encoding may lack characters of a class name.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    try:
        config, given = flags.config_from_flags()
        with interrupt.watched():
            _dispatch(config, given)
    except TrainerError as error:
        if flags.wants_traceback():
            raise
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The reader closed the pipe; exit quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if flags.wants_traceback():
            raise
        where = f"{error.filename}: " if error.filename else ""
        line = one_line(f"{where}{error.strerror or error}")
        print(f"error: {line}", file=sys.stderr)
        sys.exit(TrainerError.exit_status)
    except interrupt.Stopped as stopped:
        print(f"stopped by {stopped}{_remedy(config)}", file=sys.stderr)
        sys.exit(stopped.exit_status)


def _dispatch(config: Config, given: frozenset[str]) -> None:
    topology = find_topology(config.strategy, config.stage)
    if topology.count > 1 and not flags.wants_traceback():
        # This program reports a lost process in one line, so the many lines
        # that TensorFlow logs about it are hidden.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if topology.is_chief:
        _run_stage(config, given)
        return
    # Only the chief prints; each process still prints its own error.
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        _run_stage(config, given)


def _run_stage(config: Config, given: frozenset[str]) -> None:
    found = run_stage(
        config,
        given,
        hide_notes=not flags.wants_traceback(),
        import_first=import_tensorflow,
    )
    if config.stage == CHECK_DATA and found:
        sys.exit(found)


def _remedy(config: Config) -> str:
    if config.stage == PROBE:
        return "; the same command continues with the next backbone"
    if config.stage == CHECK_DATA:
        return "; the same command continues with what is cached"
    if config.stage == SEARCH:
        return "; the same command resumes the interrupted trial"
    if config.stage not in FIT_STAGES or config.dry_run:
        return ""
    return "; the same command resumes from the last checkpoint"


def program() -> int | str | None:
    """Runs the program and returns its exit status.

    After a stop, TensorFlow's input threads may still call Python, and would
    deadlock while the interpreter shuts down. Freeing an iterator waits for its
    threads, so all iterators are freed first, together with the stack frames
    that the exception keeps alive.
    """
    streams.open_missing()
    streams.guard()
    status: int | str | None = 0
    try:
        flags.run(main)
    except SystemExit as ended:
        status = ended.code
    except TrainerError as failed:  # --help could not be written.
        status = _failed(failed)
    except BrokenPipeError:
        status = 1
    gc.collect()
    error = streams.finish()
    if status == interrupt.HANGUP_STATUS:
        # Everything is saved. The terminal is gone, so nobody would notice a
        # TensorFlow thread that keeps the process alive.
        os._exit(status)
    return status if error is None else status or _failed(error)


def _failed(error: TrainerError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_status
