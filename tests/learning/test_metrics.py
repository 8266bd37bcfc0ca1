"""The metrics of training steps, and which validation is the best."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from tests.support.runs import lines
from trainer.learning.graph_loops import TrainCall
from trainer.learning.metrics import StepAccount, StepMetrics
from trainer.learning.state import StageState
from trainer.model.freeze import FreezePlan
from trainer.workdir import Workdir

PLAN = FreezePlan(
    unfreeze="none",
    unfrozen_layers=(),
    trainable=("head/kernel",),
    frozen=(),
    rows=(),
)


class NoWriter:
    """A writer that forgets what it is given."""

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        """Does nothing."""


def begin(step: int = 0) -> StageState:
    return StageState.begin("feature_extract", step, {}, PLAN)


# Ten images are three steps of four.
EPOCH = {"epoch_steps": 3, "images": 10, "batch_size": 4}


def call_of(losses: list[float], gradient: float = 1.0) -> TrainCall:
    """Steps of four examples, of which one more is right in each step."""
    steps = len(losses)
    sums = {
        "loss": [4 * loss for loss in losses],
        "correct": list(range(1, steps + 1)),
        "count": [4.0] * steps,
        "gradient_norm": [0.5 + step for step in range(steps)],
    }
    return TrainCall(
        {name: np.array(v, np.float32) for name, v in sums.items()},
        np.array([gradient], np.float32),
    )


def test_each_line_is_the_mean_over_its_own_steps(tmp_path: pathlib.Path):
    workdir = Workdir(str(tmp_path))
    workdir.create()
    state = begin(step=2)
    metrics = StepMetrics(workdir, NoWriter(), "feature_extract")
    account = StepAccount(state, metrics, log_every_steps=2, **EPOCH)
    # Calls of three and two steps: absolute steps 3, 4, 5 and 6, 7.
    account.add(call_of([1.0, 2.0, 4.0]), PLAN.trainable, 1.0)
    account.add(call_of([8.0, 16.0]), PLAN.trainable, 1.0)
    metrics.position()
    found = [
        (x["epoch"], x["step"], x["loss"], x["accuracy"], x["gradient_norm"])
        for x in lines(tmp_path, "metrics.jsonl")
    ]
    assert found == [
        (1, 4, 1.5, (1 + 2) / 8, 1.5),
        (2, 6, 6.0, (3 + 1) / 8, 0.5),
    ]
    # Step 7 waits for the next line; the epoch has all five steps.
    assert state.window_sums == {"loss": 64.0, "correct": 2.0, "count": 4.0}
    assert state.epoch_sums == {"loss": 124.0, "correct": 9.0, "count": 20.0}


def test_the_largest_gradient_of_all_calls_is_kept(tmp_path: pathlib.Path):
    workdir = Workdir(str(tmp_path))
    workdir.create()
    state = begin()
    metrics = StepMetrics(workdir, NoWriter(), "feature_extract")
    account = StepAccount(state, metrics, log_every_steps=100, **EPOCH)
    for gradient in (0.25, 0.75, 0.5):
        account.add(call_of([1.0], gradient), PLAN.trainable, 1.0)
    assert state.gradient_max == {"head/kernel": 0.75}


def test_the_times_of_steps_and_epochs(tmp_path: pathlib.Path):
    workdir = Workdir(str(tmp_path))
    workdir.create()
    state = begin(step=2)
    metrics = StepMetrics(workdir, NoWriter(), "feature_extract")
    account = StepAccount(state, metrics, log_every_steps=2, **EPOCH)
    account.add(call_of([1.0] * 4), PLAN.trainable, 2.0)
    metrics.position()
    text = (tmp_path / "metrics.jsonl").read_text()
    for line in map(json.loads, text.splitlines()):
        # 16 images in two seconds.
        assert line["times"]["images_per_second"] == 8
    state.seconds = 7.0
    times = account.epoch_times()
    # An epoch of ten images, and one more step of four.
    assert times["images_per_second"] == 2
    assert times["memory_mib/process"] > 50


@pytest.mark.parametrize(
    ("monitor", "best", "now", "expected"),
    [
        # (loss, accuracy, macro F1) of the best validation, and of this one.
        pytest.param("accuracy", None, (9, 0, 0), True, id="the first"),
        pytest.param("accuracy", (1, 0.5, 0.9), (9, 0.8, 0), True, id="higher"),
        pytest.param("accuracy", (9, 0.8, 0), (1, 0.5, 1), False, id="lower"),
        pytest.param("accuracy", (1, 0.8, 0), (1, 0.8, 1), False, id="a tie"),
        pytest.param(
            "accuracy", (1, 0.8, 0), (0.9, 0.8, 0), True, id="tie, lower loss"
        ),
        pytest.param(
            "accuracy", (1, 0.8, 0), (1.1, 0.8, 0), False, id="higher loss"
        ),
        pytest.param("loss", (1, 0.9, 0), (0.9, 0.1, 0), True, id="loss"),
        pytest.param("loss", (1, 0.1, 0), (1.1, 0.9, 1), False, id="more loss"),
        pytest.param("loss", (1, 0.1, 0), (1, 0.9, 1), False, id="loss tie"),
        pytest.param("macro_f1", (1, 0.9, 0.3), (9, 0, 0.4), True, id="F1"),
        pytest.param("macro_f1", (1, 0, 0.3), (0, 1, 0.2), False, id="less F1"),
        pytest.param("macro_f1", (1, 1, 0.3), (0.5, 0, 0.3), True, id="F1 tie"),
    ],
)
def test_a_validation_is_best_if_it_beats_all_before(
    monitor: str,
    best: tuple[float, ...] | None,
    now: tuple[float, ...],
    expected: bool,
):
    names = ("loss", "accuracy", "macro_f1")
    state = begin()
    state.monitor = monitor
    state.best = best and {"step": 1, **dict(zip(names, best, strict=True))}
    values = dict(zip(names, now, strict=True))
    assert state.is_best(values) is expected
