"""Trains, evaluates and exports from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainer.api.flags import Config
from trainer.api.quiet import interruptible, quiet
from trainer.api.result import Result
from trainer.api.stages import run_stage
from trainer.config.fields import EVALUATE, EXPORT, TRAINING_STAGES
from trainer.errors import UsageError


def train(config: Config, *, verbose: bool = False) -> Result:
    """Trains as configured, or resumes the run in its workdir.

    Args:
      config: of the stage finetune or feature_extract.
      verbose: whether to print what the command line prints.

    Raises:
      UsageError: a flag is invalid, or the stage is another one.
      TrainerError: the run cannot start or continue.
      KeyboardInterrupt: Ctrl-C; a checkpoint is saved first.
    """
    values = config.values
    if values.stage not in TRAINING_STAGES:
        raise UsageError(
            f"stage={values.stage!r}: not run by trainer.train, only"
            f" {', '.join(TRAINING_STAGES)}; use the command"
            f" transfer-trainer --stage={values.stage}"
        )
    refused = {"dry_run": values.dry_run, "validation": values.runs_folds}
    for name in (name for name, given in refused.items() if given):
        raise UsageError(
            f"{name}={getattr(values, name)!r}: not read by trainer.train;"
            " leave it out, or use the command"
            f" transfer-trainer --stage={values.stage}"
        )
    workdir, metrics = _run(config, verbose)
    return Result(workdir=workdir, metrics=metrics)


def evaluate(
    workdir: str | os.PathLike[str], *, verbose: bool = False, **flags: Any
) -> Mapping[str, Any]:
    """Evaluates a run on its test split, or on another folder of photos.

    Args:
      workdir: of the run.
      verbose: whether to print what the command line prints.
      **flags: of `--stage=evaluate`, such as `dataset` or `checkpoint`.

    Returns:
      The metrics, as in evaluation.json.

    Raises:
      UsageError: a flag is invalid, or the folder does not exist.
      TrainerError: the run or the data cannot be used.
    """
    config = Config(stage=EVALUATE, workdir=workdir, **flags)
    metrics: Mapping[str, Any] = _run(config, verbose)
    return metrics


def export(
    workdir: str | os.PathLike[str], *, verbose: bool = False, **flags: Any
) -> str:
    """Exports the classifier of a run.

    Args:
      workdir: of the run.
      verbose: whether to print what the command line prints.
      **flags: of `--stage=export`, such as `output`.

    Returns:
      The folder that was written.

    Raises:
      UsageError: a flag is invalid, or the folder does not exist.
      TrainerError: an exported model computes other probabilities.
    """
    config = Config(stage=EXPORT, workdir=workdir, **flags)
    folder: str = _run(config, verbose)
    return folder


def _run(config: Config, verbose: bool) -> Any:
    with quiet(verbose), interruptible():
        return run_stage(config.values, config.given)
