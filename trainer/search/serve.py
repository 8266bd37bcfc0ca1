"""Entry point of the process that trains one trial; started by `run`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from trainer.config import Config
from trainer.run.apart import serve
from trainer.workdir import MANIFEST, RESULT, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRun:
    """The arguments of one process.

    Attributes:
      config: the configuration of the run, with a workdir.
      shows_data: whether to print the line about the data and its warnings.
    """

    config: Config
    shows_data: bool = False


def train_trial(run: TrialRun) -> Mapping[str, Any]:
    """Trains or resumes a trial, without reading test images.

    Returns:
      `accuracy` and `loss` of the best validation; `examples` and
      `train_examples`, the numbers of validation and training examples; and
      `validation_source`, `dataset` and `fingerprint` of the data.

    Raises:
      UsageError, TrainerError: see `training.train`.
      Stopped: a signal was received; a checkpoint is saved first.
    """
    # `_load` has already imported this module and TensorFlow.
    from trainer.run import training

    shown = sys.stdout if run.shows_data else None
    # Discards the rest; the search prints one line per trial.
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        training.train(run.config, tests=False, data_stream=shown)
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
    # Imports TensorFlow here, while `serve` hides its log messages.
    from trainer.run import training

    assert training
    return train_trial


if __name__ == "__main__":
    serve(_load)
