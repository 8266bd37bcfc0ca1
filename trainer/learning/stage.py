"""The arguments and the result of a stage's loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from trainer.config import Config, StageSpec
from trainer.config.fields import ACCURACY, MAP
from trainer.data.samples import Samples
from trainer.distribute.runtime import Runtime
from trainer.learning.audit import Audit
from trainer.learning.inputs import Inputs
from trainer.learning.losses import TrainingLoss
from trainer.learning.metrics import Writer
from trainer.learning.stopping import EarlyStop, Stopwatch
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition
from trainer.workdir import Workdir


class Evaluated(Protocol):
    """The result of a validation.

    It also has an attribute for each metric of `--monitor` that the task has:
    `accuracy`, `macro_f1` and `balanced_accuracy`, or `map`.
    """

    @property
    def loss(self) -> float:
        """The mean loss over all examples."""


class Progress(Protocol):
    """Shows the progress of the loop on the terminal."""

    def epoch(
        self, stage: str, epoch: int, epochs: int, done: int, *, passes: int = 1
    ) -> None:
        """Begins one epoch, or several without a validation in between.

        Args:
          stage: the name of the stage.
          epoch: the number of the last of these epochs, from 1.
          epochs: the number of epochs of the stage.
          done: number of examples that are already trained on.
          passes: number of these epochs.
        """

    def steps(self, examples: int, loss: float, hits: float) -> None:
        """Adds trained examples, with the epoch's metrics so far.

        Args:
          examples: number of examples.
          loss: the mean loss.
          hits: the share of correct examples; see `metrics.hits_name`.
        """

    def end_epoch(self, line: str) -> None:
        """Ends the epoch with a line of metrics."""

    def rows(self, what: str, done: int, total: int) -> None:
        """Shows how many of `total` rows have been computed for the cache."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StageJob:
    """Everything that is needed to train one stage.

    Attributes:
      spec: the settings of the stage.
      config: the configuration of the run.
      runtime: the devices; the classifier was created under its strategy.
      classifier: has the weights to start from.
      plan: the trainable and the frozen variables of the stage.
      partition: the two-part model that the step computes with; None for the
        whole classifier.
      inputs: reads the samples.
      train: the training subset.
      loss: the loss of each training sample.
      start_step: the absolute step at which the stage begins.
      workdir: receives checkpoints and metrics.
      validate: evaluates the classifier with its current weights.
      writer: receives the metrics, besides metrics.jsonl.
      progress: shows the progress on the terminal.
      stopwatch: measures the training time of the run.
      restore_best: whether the stage ends with the weights of its best
        validation; otherwise with the last ones.
    """

    spec: StageSpec
    config: Config
    runtime: Runtime
    classifier: Classifier
    plan: FreezePlan
    partition: Partition | None
    inputs: Inputs
    train: Samples
    loss: TrainingLoss
    start_step: int
    workdir: Workdir
    validate: Callable[[], Evaluated]
    writer: Writer
    progress: Progress
    stopwatch: Stopwatch
    restore_best: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """The result of a finished stage.

    Attributes:
      step: the absolute step at its end.
      best: step, loss, accuracy or mAP, and the monitored metric of the best
        validation.
      monitor: the metric that decides which validation is the best.
      audit: the audit of the variables.
      seconds: time spent in training steps.
      stopped: how it ended early; None if it did not.
      result_checkpoint: the checkpoint whose weights the classifier has, and
        the result is of: last or best.
      result_step: the absolute step of that checkpoint.
    """

    step: int
    best: dict[str, float]
    monitor: str
    audit: Audit
    seconds: float
    stopped: EarlyStop | None
    result_checkpoint: str
    result_step: int

    def to_json(self) -> dict[str, Any]:
        """Returns what result.json says of validation and of the end."""
        stopped = self.stopped and dataclasses.asdict(self.stopped)
        return {
            "monitor": self.monitor,
            "best_step": self.best["step"],
            **{
                f"best_validation_{name}": self.best[name]
                for name in (ACCURACY, MAP)
                if name in self.best
            },
            "best_validation_loss": self.best["loss"],
            "best_monitor_value": self.best[self.monitor],
            "result_checkpoint": self.result_checkpoint,
            "result_step": self.result_step,
            **({"stopped_early": stopped} if stopped else {}),
        }
