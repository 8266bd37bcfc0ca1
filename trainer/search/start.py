"""Checks a search and prints its plan, before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import re

from trainer.config import Config
from trainer.config.checks import check_images, check_views
from trainer.errors import UsageError, one_line
from trainer.run.resolve import default_workdir
from trainer.search.halving import Halving
from trainer.search.space import Space
from trainer.search.table import first_rung_lines, plan_lines
from trainer.storage import files
from trainer.workdir import CONFIG, Workdir

SEARCH_JSON, SEARCH_PNG, TRIALS = "search.json", "search.png", "trials"
# Files that show that a workdir belongs to another stage, and a name for it.
_OTHERS = (
    (re.compile(re.escape(CONFIG)), "a run"),
    (re.compile(r"probe\.json"), "a probe"),
    (re.compile(r"seed\d+|study\.json"), "a study"),
    (re.compile(r"fold-\d+|folds\.json"), "the folds of a run"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A search whose flags have been checked.

    Attributes:
      config: the configuration of the search, with --workdir and --validation.
      space: the search space.
      halving: chooses the next trial.
    """

    config: Config
    space: Space
    halving: Halving


def plan_search(config: Config, given: frozenset[str]) -> Plan:
    """Checks the flags and the workdir, and prints the search space.

    With --dry_run, it also prints the first trials.

    Args:
      config: the configuration of the search.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: nothing is left to search, or the workdir holds the results
        of another stage.
      TrainerError: a folder cannot be read.
    """
    config = dataclasses.replace(config, validation=config.validation or "auto")
    space = Space(config, given)
    halving = Halving(space)
    for job in (*halving.first, *halving.drawn()):
        trial = job.config()
        check_views(trial)
        check_images(trial)
    config = dataclasses.replace(
        config, workdir=config.workdir or default_workdir(config)
    )
    assert config.workdir is not None
    assert config.budget is not None
    _check_workdir(Workdir(config.workdir))
    print(f"workdir: {one_line(config.workdir)}", flush=True)
    for line in plan_lines(space, config.budget):
        print(line, flush=True)
    if config.dry_run:
        for line in first_rung_lines(halving):
            print(line)
    return Plan(config=config, space=space, halving=halving)


def _check_workdir(workdir: Workdir) -> None:
    """Checks that a workdir holds a search or nothing.

    Raises:
      UsageError: it holds the results of another stage, such as a run.
    """
    names = files.names(workdir.path)
    for pattern, what in _OTHERS:
        if any(pattern.fullmatch(name) for name in names):
            raise UsageError(
                f"--workdir={workdir.path!r}: holds {what}, not a search; give"
                " another --workdir"
            )
