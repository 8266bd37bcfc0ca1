"""Runs a stage, for the command line and for the functions of the package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

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
from trainer.config.given import warm_start_warnings
from trainer.native_logs import native_notes_hidden
from trainer.native_memory import long_lived_imports
from trainer.run.early import check_paths
from trainer.run.resolve import introduction


def run_stage(
    config: Config,
    given: frozenset[str],
    *,
    hide_notes: bool = True,
    import_first: Callable[[], None] | None = None,
) -> Any:
    """Runs the stage of a configuration.

    Args:
      config: the checked flags.
      given: the names of the flags that were given explicitly.
      hide_notes: whether to hide the log of TensorFlow's start.
      import_first: imports TensorFlow, after the checks that do not need it.

    Returns:
      What the stage's function returns.

    Raises:
      TrainerError: the stage fails.
      Stopped: a signal was received.
    """
    if config.stage == COMPARE:
        # Reads files only, so TensorFlow is not imported.
        from trainer.run.compare import compare

        return compare(config)
    if config.stage == LIST_RUNS:
        from trainer.run.list_runs import list_runs

        return list_runs(config)
    check_paths(config)
    if config.stage in (*FIT_STAGES, LR_FIND, SEARCH):
        warnings = warm_start_warnings(config, given)
        for line in (*introduction(config), *warnings):
            print(line, flush=True)
    planned: Any = config
    if config.stage == SEARCH:
        from trainer.search.start import plan_search

        planned = plan_search(config, given)
        if config.dry_run:
            return None
    # TensorFlow is imported only after the flags are checked.
    with native_notes_hidden(hide_notes), long_lived_imports():
        if import_first:
            import_first()
        from trainer.distribute import devices

        run = _stage_function(config, given)
        devices.discover()
    return run(planned)


def _stage_function(
    config: Config, given: frozenset[str]
) -> Callable[[Any], Any]:
    """Imports and returns what runs the stage."""
    if config.stage == SEARCH:
        from trainer.search.run import search

        return search
    if config.stage == CHECK_DATA:
        from trainer.doctor.run import check_data

        return check_data
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
        from trainer.run import export, use

        users = {
            EVALUATE: use.evaluate,
            PREDICT: use.predict,
            EXPORT: export.export,
        }
        return functools.partial(users[config.stage], given=given)
    from trainer.run import folds, training
    from trainer.study import run as study

    one_run = folds if config.runs_folds else training
    trainer = study if config.stage == STUDY else one_run
    return trainer.dry_run if config.dry_run else trainer.train
