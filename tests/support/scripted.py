"""Validations with given results, and a clock that moves with the steps."""

from __future__ import annotations

import types
from typing import Any

import pytest

from tests.support.clock import ManualClock
from trainer.learning.loop import StageLoop
from trainer.learning.stopping import Stopwatch
from trainer.results.evaluate import Evaluator
from trainer.run import stage_parts

_SECONDS = 60.0


def script_validation(
    monkeypatch: pytest.MonkeyPatch, **metrics: list[float]
) -> list[Any]:
    """Makes each validation report the next of these values.

    Args:
      monkeypatch: the fixture.
      **metrics: the values by metric, lists of one length; the others are 0.5.

    Returns:
      The results that are left.
    """
    rows = zip(*metrics.values(), strict=True)
    common = dict.fromkeys(
        ("loss", "accuracy", "macro_f1", "balanced_accuracy"), 0.5
    )
    left = [
        types.SimpleNamespace(**common | dict(zip(metrics, row, strict=True)))
        for row in rows
    ]
    real = Evaluator.evaluate

    def evaluate(self: Evaluator, samples: Any, **options: Any) -> Any:
        if options.get("again"):
            return left.pop(0)
        return real(self, samples, **options)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    return left


def one_minute_per_call(
    monkeypatch: pytest.MonkeyPatch, *, minutes: float = 1.0
) -> None:
    """Makes every call of training steps take so long, and nothing else.

    Each run gets a clock that begins at 0.
    """
    clocks: list[ManualClock] = []
    real = StageLoop._call

    def stopwatch() -> Stopwatch:
        clocks.append(ManualClock())
        return Stopwatch(clocks[-1])

    def call(self: StageLoop, *arguments: Any) -> float:
        seconds = real(self, *arguments)
        clocks[-1].advance(minutes * _SECONDS)
        return seconds

    monkeypatch.setattr(stage_parts, "Stopwatch", stopwatch)
    monkeypatch.setattr(StageLoop, "_call", call)
