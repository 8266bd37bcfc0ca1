"""The error for a study where the workdir of one run is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trainer.config import Config
from trainer.errors import UsageError
from trainer.results.commands import command_line
from trainer.storage import files
from trainer.workdir import CONFIG, RESULT, Workdir


def check_no_study(
    workdir: Workdir, config: Config, given: frozenset[str]
) -> None:
    """Checks that a workdir is of one run, not of the models of a study.

    Args:
      workdir: the workdir of `config`.
      config: the configuration of this command.
      given: names of the flags given explicitly.

    Raises:
      UsageError: the workdir is of a study; the message has the command for
        its best model.
    """
    models = list(_models(workdir))
    if not models or files.exists(workdir.file(CONFIG)):
        return
    results = [(Workdir(path).read_json(RESULT), path) for path in models]
    scored = [
        (result["best_validation_accuracy"], path)
        for result, path in results
        if result and "best_validation_accuracy" in result
    ]
    which = "the first"
    path = models[0]
    if scored:
        accuracy, path = max(scored, key=lambda pair: pair[0])
        which = f"the best by validation accuracy ({accuracy:.4f})"
    flags: dict[str, Any] = {
        name: getattr(config, name) for name in ("stage", *sorted(given))
    }
    raise UsageError(
        f"--workdir={workdir.path!r}: holds the models of a study, each a"
        f" workdir of its own; give one of them; for {which}:"
        f" {command_line({**flags, 'workdir': path})}"
    )


def _models(workdir: Workdir) -> Iterator[str]:
    """Yields the workdirs of the models, in order of seed and number."""
    for seed in sorted(files.names(workdir.path)):
        if re.fullmatch(r"seed\d+", seed):
            for model in sorted(files.names(workdir.file(seed))):
                if re.fullmatch(r"model\d+", model):
                    yield workdir.file(seed, model)
