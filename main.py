"""Fine-tunes image classifiers: `python main.py --help` lists the flags."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import flags
from trainer import interrupt, streams
from trainer.config import Config
from trainer.config.fields import EVALUATE, EXPORT, PREDICT, STUDY, USING_STAGES
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, one_line
from trainer.native_logs import native_notes_hidden


def main(argv: list[str]) -> None:
    """Dispatches on --stage, and ends the process as the outcome asks for."""
    del argv  # The parser has refused what is not a flag.
    # A terminal may lack letters that the names of classes have.
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
        # What TensorFlow writes about a process that is gone says less than
        # the one line that follows.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if topology.is_chief:
        _run_stage(config, given)
        return
    # One process speaks for all; an error each says itself.
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        _run_stage(config, given)


def _run_stage(config: Config, given: frozenset[str]) -> None:
    if config.stage not in USING_STAGES:
        for line in config.introduction():
            print(line, flush=True)
    # TensorFlow starts only once the flags are legal.
    with native_notes_hidden(not flags.wants_traceback()):
        from trainer.distribute import devices
        from trainer.run import training, use
        from trainer.study import run as study

        devices.discover()
    users = {
        EVALUATE: use.evaluate,
        PREDICT: use.predict,
        EXPORT: use.export,
    }
    if config.stage in users:
        users[config.stage](config, given)
    else:
        trainer = study if config.stage == STUDY else training
        (trainer.dry_run if config.dry_run else trainer.train)(config)


def _remedy(config: Config) -> str:
    if config.stage in USING_STAGES or config.dry_run:
        return ""
    return "; the same command goes on from the last checkpoint"


def _run() -> int | str | None:
    """The status to leave with.

    A stop leaves input threads of TensorFlow that may be about to call
    Python. Once the interpreter is being taken down they wait for it, and it
    for them. So what holds them goes first: the frames that the exception
    kept, and with them the iterators, whose end waits for such calls.
    """
    streams.open_missing()
    streams.guard()
    status: int | str | None = 0
    try:
        flags.run(main)
    except SystemExit as ended:
        status = ended.code
    except TrainerError as failed:  # Of writing --help.
        status = _failed(failed)
    except BrokenPipeError:
        status = 1
    gc.collect()
    error = streams.finish()
    if status == interrupt.HANGUP_STATUS:
        # All is saved. Nobody is left to see a process that a thread of
        # TensorFlow keeps from ending.
        os._exit(status)
    return status if error is None else status or _failed(error)


def _failed(error: TrainerError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_status


if __name__ == "__main__":
    sys.exit(_run())
