"""The loop of a stage: best weights, rollbacks, and where a stage starts."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import StopError, lines, small, train, weights
from tests.support.scripted import one_minute_per_call, script_validation
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.learning import loop
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.nonfinite import NonFiniteError
from trainer.run import training

HEAD, FINETUNE = "feature_extract", "finetune"


@pytest.fixture
def photos(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    use_tiny_backbone(monkeypatch)
    return make_photos(tmp_path / "photos")


def fields(**values: object) -> dict[str, object]:
    return {"backbone_args": "", "weights": "none", "batch_size": 4, **values}


@pytest.mark.slow
def test_the_first_of_two_best_validations_is_kept(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
    script_validation(monkeypatch, accuracy=[0.2, 0.8, 0.5, 0.8])
    path = tmp_path / "run"
    result = train(
        str(photos), path, **fields(stage=HEAD, epochs=4, data_pct=100)
    )
    steps = result["steps"] // 4
    assert result["best_step"] == 2 * steps
    assert result["best_validation_accuracy"] == 0.8
    saved = (path / "checkpoints" / HEAD / "best").glob("*.index")
    assert [p.name for p in saved] == [f"ckpt-{2 * steps}.index"]


@pytest.mark.slow
def test_finetune_starts_from_the_checkpoint_asked_for(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
    script_validation(monkeypatch, accuracy=[0.2, 0.8, 0.5, 0.5])
    path = tmp_path / "run"
    # Such a learning rate moves no weight by more than 1e-29.
    train(
        str(photos),
        path,
        **fields(
            stage=FINETUNE,
            epochs=1,
            head_epochs=3,
            learning_rate=1e-30,
            init_from_checkpoint="best",
        ),
    )
    after = weights(path, FINETUNE)
    for name in ("best", "last"):
        before = weights(path, HEAD, name)
        same = all(
            np.allclose(before[key], after[key], rtol=0, atol=1e-20)
            for key in before
            if key.startswith("model/")
        )
        assert same is (name == "best"), name


def fail_at(
    monkeypatch: pytest.MonkeyPatch, *steps: int
) -> Callable[..., None]:
    """Makes the loss non-finite at these absolute steps, once each."""
    left = list(steps)

    def check(call: object, step: int) -> None:
        done = len(call.sums["loss"])
        if left and step < left[0] <= step + done:
            raise NonFiniteError(left.pop(0), "loss nan")

    monkeypatch.setattr(loop, "check_finite", check)
    return check


@pytest.mark.slow
def test_a_rollback_removes_the_lines_after_the_boundary(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
    fail_at(monkeypatch, 9)
    path = tmp_path / "run"
    train(
        str(photos),
        path,
        **fields(stage=HEAD, epochs=3, on_nonfinite="rollback"),
        steps_per_loop=1,
    )
    steps = [
        line["step"]
        for line in lines(path, "metrics.jsonl")
        if line["span"] == "steps"
    ]
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        # The second epoch of six steps is trained again, and is no better.
        pytest.param({"patience": 1}, 12, id="patience"),
        # Ends at step 8, goes back to step 6, and ends after the next call.
        pytest.param({"time_limit": 8}, 7, id="time limit"),
    ],
)
def test_a_rollback_from_the_last_validation(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch, flags, steps
):
    one_minute_per_call(monkeypatch)
    script_validation(
        monkeypatch, accuracy=[0.5, 0.4, 0.4], loss=[1.0, float("nan"), 1.0]
    )
    values = fields(stage=HEAD, epochs=5, on_nonfinite="rollback", **flags)
    path = tmp_path / "run"
    result = train(str(photos), path, **values, steps_per_loop=1)
    assert result["steps"] == steps
    assert result["best_step"] == 6
    assert result["stopped_early"]["reason"] == next(iter(flags))
    events = [line["event"] for line in lines(path, "events.jsonl")]
    assert events.count("nonfinite") == 1


@pytest.mark.slow
def test_a_resume_after_a_rollback_keeps_the_halved_rate(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
    fail_at(monkeypatch, 9)
    path = tmp_path / "run"
    values = fields(
        stage=HEAD, epochs=3, on_nonfinite="rollback", learning_rate=0.5
    )
    config = Config(**small(str(photos), path, **values))
    saves = StageCheckpoints.save

    def save_then_stop(self: StageCheckpoints, **kinds: bool) -> str:
        found = saves(self, **kinds)
        if self._state.rollbacks:
            raise StopError
        return found

    with monkeypatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", save_then_stop)
        with pytest.raises(StopError):
            training.train(config)
    training.train(config)
    rates = [
        line["learning_rate"]
        for line in lines(path, "metrics.jsonl")
        if line["split"] == "train" and line["span"] == "epoch"
    ]
    assert rates == [0.5, 0.25, 0.25]
