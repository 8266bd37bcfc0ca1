"""Reads the command line, and runs the stage that it names."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable

from trainer import interrupt, streams
from trainer.command import flags
from trainer.command.tensorflow_import import import_tensorflow
from trainer.config import Config
from trainer.config.fields import (
    CHECK_DATA,
    COMPARE,
    EMBED,
    EVALUATE,
    EXPORT,
    FIT_STAGES,
    LIST_RUNS,
    LR_FIND,
    PREDICT,
    PROBE,
    REPORT,
    SEARCH,
    SERVE,
    SOUP,
    STUDY,
    USING_STAGES,
)
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, one_line
from trainer.native_logs import native_notes_hidden
from trainer.run.early import check_paths
from trainer.run.resolve import introduction


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
    if config.stage == COMPARE:
        # Reads files only, so TensorFlow is not imported.
        from trainer.run.compare import compare

        compare(config)
        return
    if config.stage == LIST_RUNS:
        from trainer.run.list_runs import list_runs

        list_runs(config)
        return
    check_paths(config)
    if config.stage in (*FIT_STAGES, LR_FIND, SEARCH):
        for line in introduction(config):
            print(line, flush=True)
    if config.stage == SEARCH:
        _search(config, given)
        return
    # TensorFlow is imported only after the flags are checked.
    with native_notes_hidden(not flags.wants_traceback()):
        import_tensorflow()
        from trainer.distribute import devices

        run = _stage_function(config, given)
        devices.discover()
    run(config)


def _search(config: Config, given: frozenset[str]) -> None:
    from trainer.search.start import plan_search

    plan = plan_search(config, given)
    if config.dry_run:
        return
    # TensorFlow is imported only after the flags are checked.
    with native_notes_hidden(not flags.wants_traceback()):
        import_tensorflow()
        from trainer.distribute import devices
        from trainer.search.run import search

        devices.discover()
    search(plan)


def _stage_function(
    config: Config, given: frozenset[str]
) -> Callable[[Config], None]:
    """Imports and returns what runs the stage."""
    if config.stage == CHECK_DATA:
        from trainer.doctor.run import check_data

        return lambda config: _exit(check_data(config))
    if config.stage == PROBE:
        from trainer.probe.run import probe

        return probe
    if config.stage == EMBED:
        from trainer.run.embed import embed

        return functools.partial(embed, given=given)
    if config.stage == SOUP:
        from trainer.run.soup import soup

        return functools.partial(soup, given=given)
    if config.stage == REPORT:
        from trainer.run.report_again import report

        return functools.partial(report, given=given)
    if config.stage == LR_FIND:
        from trainer.run.lr_find import lr_find

        return functools.partial(lr_find, given=given)
    if config.stage == SERVE:
        from trainer.run.serve import serve

        return functools.partial(serve, given=given)
    if config.stage in USING_STAGES:
        from trainer.run import use

        users = {
            EVALUATE: use.evaluate,
            PREDICT: use.predict,
            EXPORT: use.export,
        }
        return functools.partial(users[config.stage], given=given)
    from trainer.run import folds, training
    from trainer.study import run as study

    one_run = folds if config.runs_folds else training
    trainer = study if config.stage == STUDY else one_run
    return trainer.dry_run if config.dry_run else trainer.train


def _exit(status: int) -> None:
    if status:
        sys.exit(status)


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
