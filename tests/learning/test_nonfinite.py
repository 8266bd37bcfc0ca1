"""Tests of non-finite losses: the error, the checkpoints, and rollbacks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import lines, small, train, weights
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.data.order import epoch_order
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import TrainerError
from trainer.learning import loop
from trainer.learning.graph_loops import TrainCall
from trainer.learning.nonfinite import (
    NonFiniteError,
    check_finite,
    inputs_of_step,
)
from trainer.run.prepare import prepare, read_manifest

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "norms", "step", "what"),
    [
        ([1, 2, 3], [1, 1, 1], None, None),
        ([1, NAN, 3], [1, 1, 1], 12, "loss nan"),
        ([INF, NAN, 3], [1, 1, 1], 11, "loss inf"),
        ([1, 2, 3], [1, 1, INF], 13, "gradient norm inf"),
        ([1, NAN, 3], [NAN, 1, 1], 11, "gradient norm nan"),
        ([1, NAN, 3], [1, NAN, 1], 12, "loss nan"),
    ],
)
def test_the_first_bad_step_is_named(losses, norms, step, what):
    call = TrainCall(
        {"loss": np.float32(losses), "gradient_norm": np.float32(norms)},
        np.zeros(1, np.float32),
    )
    if step is None:
        check_finite(call, 10)
        return
    with pytest.raises(NonFiniteError) as error:
        check_finite(call, 10)
    assert (error.value.step, error.value.what) == (step, what)


def test_inputs_are_those_of_the_step():
    samples = Samples(
        ids=tuple(f"{i}.jpg" for i in range(10)),
        labels=np.zeros(10, np.int32),
        paths=tuple(str(i) for i in range(10)),
        offsets=np.zeros(10, np.int64),
        lengths=np.full(10, WHOLE_FILE, np.int64),
    )
    # Three steps of 4, 4 and 2; the fifth is the second of epoch 1.
    order = epoch_order(10, 7, 1).numpy()
    expected = ", ".join(f"{row}.jpg" for row in order[4:8])
    text = inputs_of_step(samples, global_batch=4, seed=7, step=5)
    assert text == expected
    text = inputs_of_step(samples, global_batch=10, seed=7, step=2)
    named = ", ".join(f"{row}.jpg" for row in order[:5])
    assert text == f"{named} and 5 more"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)
    # 24 training images: six steps of four per epoch.
    return make_photos(tmp_path / "photos")


def _train(photos, workdir, **values):
    return train(
        photos,
        workdir,
        stage="feature_extract",
        backbone_args="",
        weights="none",
        epochs=3,
        batch_size=4,
        **values,
    )


def _fails_at(monkeypatch, *steps):
    """Simulates a loss of NaN, once at each of these absolute steps."""
    left, real = list(steps), loop.check_finite

    def check(call, step):
        real(call, step)
        done = len(call.sums["loss"])
        if left and step < left[0] <= step + done:
            raise NonFiniteError(left.pop(0), "loss nan")

    monkeypatch.setattr(loop, "check_finite", check)


def test_a_diverging_run_stops_and_saves_nothing(photos, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(TrainerError) as error:
        _train(photos, workdir, learning_rate=1e38)
    text = str(error.value)
    assert text.startswith("feature_extract: loss ")
    assert " at step 2, on " in text or " at step 3, on " in text
    assert "--on_nonfinite=rollback" in text
    assert not (workdir / "result.json").exists()
    events = [e["event"] for e in lines(workdir, "events.jsonl")]
    assert events[-2:] == ["nonfinite", "stop"]
    assert "save" not in events


def test_a_nonfinite_loss_keeps_earlier_checkpoints(
    photos, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    _fails_at(monkeypatch, 9)
    with pytest.raises(TrainerError, match="loss nan at step 9, on "):
        _train(photos, workdir)
    assert np.isfinite(
        [v.sum() for v in weights(workdir, "feature_extract").values()]
    ).all()
    folder = workdir / "checkpoints/feature_extract"
    assert {p.name for p in folder.rglob("*.index")} == {"ckpt-6.index"}


@pytest.mark.slow
def test_rollback_repeats_the_epoch_at_half_the_rate(
    photos, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "run"
    _fails_at(monkeypatch, 9)
    values = {
        "on_nonfinite": "rollback",
        "checkpoint_every_steps": 1,
        "keep_checkpoints": 2,
        "learning_rate": 0.5,
    }
    result = _train(photos, workdir, **values)
    assert result["steps"] == 18
    said = capsys.readouterr().out
    assert "loss nan at step 9" in said
    assert "back to step 6 with learning rate 0.25" in said
    rates = [
        (line["step"], line["learning_rate"])
        for line in lines(workdir, "metrics.jsonl")
        if line["split"] == "train" and line["span"] == "epoch"
    ]
    assert rates == [(6, 0.5), (12, 0.25), (18, 0.25)]
    # Equal to a run that is set to half the rate from step 6 on.
    monkeypatch.undo()
    use_tiny_backbone(monkeypatch)
    end = loop.StageLoop._end_epoch

    def set_after(self):
        end(self)
        self._updates.scale(0.5)

    monkeypatch.setattr(loop.StageLoop, "_end_epoch", set_after)
    other = tmp_path / "other"
    _train(photos, other, learning_rate=0.5)
    mine, theirs = (
        weights(workdir, "feature_extract"),
        weights(other, "feature_extract"),
    )
    for key, value in theirs.items():
        np.testing.assert_array_equal(mine[key], value, err_msg=key)


@pytest.mark.slow
def test_rollback_in_the_first_epoch_restores_the_start(
    photos, tmp_path, monkeypatch, capsys
):
    _fails_at(monkeypatch, 2)
    result = _train(photos, tmp_path / "run", on_nonfinite="rollback")
    assert result["steps"] == 18
    assert "back to step 0 with" in capsys.readouterr().out


@pytest.mark.slow
def test_rollback_can_be_turned_on_when_a_run_resumes(
    photos, tmp_path, monkeypatch, capsys
):
    _fails_at(monkeypatch, 9, 9)
    with pytest.raises(TrainerError, match="loss nan at step 9"):
        _train(photos, tmp_path / "run")
    result = _train(photos, tmp_path / "run", on_nonfinite="rollback")
    assert result["steps"] == 18
    assert "back to step 6 with" in capsys.readouterr().out


@pytest.mark.slow
def test_a_fourth_rollback_is_an_error(photos, tmp_path, monkeypatch):
    _fails_at(monkeypatch, 2, 3, 2, 3)
    with pytest.raises(TrainerError, match="step 3 after 3 rollbacks, on"):
        _train(photos, tmp_path / "run", on_nonfinite="rollback")


@pytest.mark.slow
def test_the_message_names_the_inputs_of_the_step(
    photos, tmp_path, monkeypatch
):
    _fails_at(monkeypatch, 5)
    fields = small(photos, tmp_path, batch_size=4, backbone_args="")
    config = prepare(Config(**{**fields, "weights": "none"})).config
    manifest = read_manifest(config)
    order = epoch_order(24, 0, 0).numpy()
    named = ", ".join(manifest.train.ids[row] for row in order[16:20])
    with pytest.raises(TrainerError) as error:
        _train(photos, tmp_path / "run")
    assert f"loss nan at step 5, on {named};" in str(error.value)
