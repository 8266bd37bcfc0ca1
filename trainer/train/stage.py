"""What the loop of a stage takes and returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from trainer.config import Config, StageSpec
from trainer.data.samples import Samples
from trainer.distribute.runtime import Runtime
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition
from trainer.train.audit import Audit
from trainer.train.inputs import Inputs
from trainer.train.metrics import Writer
from trainer.workdir import Workdir


class Evaluated(Protocol):
    """The result of a validation."""

    @property
    def loss(self) -> float:
        """The mean loss over all examples."""

    @property
    def accuracy(self) -> float:
        """The accuracy over all examples, 0 to 1."""


class Progress(Protocol):
    """Shows on the terminal what the loop does."""

    def epoch(self, stage: str, epoch: int, epochs: int, done: int) -> None:
        """Begins an epoch of which `done` examples are trained on."""

    def steps(self, examples: int, loss: float, accuracy: float) -> None:
        """Adds examples; loss and accuracy are the epoch's so far."""

    def end_epoch(self, line: str) -> None:
        """Ends the epoch with a line of metrics."""

    def rows(self, what: str, done: int, total: int) -> None:
        """Shows how many of `total` rows are computed for the cache."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StageJob:
    """One stage to train, and what it is trained with.

    Attributes:
      spec: the stage.
      config: of the run.
      runtime: the classifier was created under its strategy.
      classifier: holds the weights to start from.
      plan: what the stage trains.
      partition: what the step computes with; None takes the classifier.
      inputs: how samples are read.
      train: the training subset.
      start_step: absolute step at which the stage begins.
      workdir: holds checkpoints and metrics.
      validate: evaluates the classifier with its present weights.
      writer: receives the metrics too.
      progress: shows them on the terminal.
    """

    spec: StageSpec
    config: Config
    runtime: Runtime
    classifier: Classifier
    plan: FreezePlan
    partition: Partition | None
    inputs: Inputs
    train: Samples
    start_step: int
    workdir: Workdir
    validate: Callable[[], Evaluated]
    writer: Writer
    progress: Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """The result of a finished stage.

    Attributes:
      step: absolute, of its end.
      best: step, loss and accuracy of the best validation.
      audit: of its variables.
      seconds: time spent in training steps.
    """

    step: int
    best: dict[str, float]
    audit: Audit
    seconds: float
