"""What the loop of a stage is given, and what it gives back."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from trainer.train.audit import Audit


class Evaluated(Protocol):
    """What the loop reads of a validation."""

    @property
    def loss(self) -> float: ...

    @property
    def accuracy(self) -> float: ...


class Progress(Protocol):
    """What a person sees while the loop runs."""

    def epoch(self, stage: str, epoch: int, epochs: int, done: int) -> None: ...

    def steps(self, examples: int, loss: float, accuracy: float) -> None: ...

    def end_epoch(self, line: str) -> None: ...

    def rows(self, what: str, done: int, total: int) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What every stage of a run shares."""

    batch_size: int
    accumulate_steps: int
    steps_per_loop: int
    seed: int
    augment: bool
    clip_global_norm: float | None
    checkpoint_every_steps: int
    keep_checkpoints: int
    log_every_steps: int
    on_nonfinite: str
    xla: bool
    kernel: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """A finished stage."""

    step: int
    best: dict[str, float]
    audit: Audit
    seconds: float
