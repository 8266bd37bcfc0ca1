"""The process that trains one trial; `run` starts it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from trainer.config import Config
from trainer.run.apart import serve
from trainer.workdir import MANIFEST, RESULT, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRun:
    """The arguments of one process.

    Attributes:
      config: of the run, with a workdir.
    """

    config: Config


def train_trial(run: TrialRun) -> Mapping[str, Any]:
    """Trains a trial, or continues it; no test image is read.

    Returns:
      `accuracy` and `loss` of the best validation, the number of `examples`
      to train and to validate on, and the `fingerprint` of the data.

    Raises:
      UsageError, TrainerError: see `training.train`.
      Stopped: a signal arrived; a checkpoint is saved first.
    """
    # TensorFlow is imported when a job is loaded.
    from trainer.run import training

    # The search prints one line for each trial.
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        training.train(run.config, tests=False)
    workdir = Workdir(run.config.workdir or "")
    result = workdir.read_json(RESULT) or {}
    manifest = workdir.read_json(MANIFEST) or {}
    return {
        "accuracy": result["best_validation_accuracy"],
        "loss": result["best_validation_loss"],
        "examples": result["validation_examples"],
        "train_examples": result["train_examples"],
        "validation_source": result["validation_source"],
        "dataset": result["dataset"],
        "fingerprint": manifest["fingerprint"],
    }


def _load() -> Callable[[Any], Mapping[str, Any]]:
    # Imports TensorFlow while its notes are hidden.
    from trainer.run import training

    assert training
    return train_trial


if __name__ == "__main__":
    serve(_load)
