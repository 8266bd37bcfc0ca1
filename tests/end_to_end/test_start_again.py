"""Tests of runs that continue, start from another run, or are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    StopError,
    assert_same_arrays,
    lines,
    train,
    weights,
)
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.learning import loop
from trainer.run.use import evaluate

pytestmark = pytest.mark.usefixtures("tiny")
HEAD = {**TINY, "stage": "feature_extract"}
FINETUNE = {**TINY, "stage": "finetune", "unfreeze": "last:3"}


@pytest.fixture(scope="module")
def extracted(tiny, photos, tmp_path_factory):
    """The workdir of a head of two epochs."""
    workdir = tmp_path_factory.mktemp("extracted") / "run"
    train(photos, workdir, **HEAD, epochs=2)
    return workdir


@pytest.mark.slow
def test_more_epochs_go_on_from_the_end(photos, extracted, tmp_path):
    one = tmp_path / "one"
    train(photos, one, **HEAD, epochs=1)
    result = train(photos, one, **HEAD, epochs=2)
    assert result["steps"] == 6
    assert_same_arrays(
        weights(one, "feature_extract"), weights(extracted, "feature_extract")
    )


@pytest.mark.slow
def test_finetune_starts_from_a_feature_extract_in_the_workdir(
    photos, finished, extracted, tmp_path, capsys
):
    workdir, result = finished
    steps = shutil.copytree(extracted, tmp_path / "steps")
    after = train(photos, steps, **FINETUNE, epochs=2)
    assert after["steps"] == 12
    assert after["test_loss"] == result["test_loss"]
    assert_same_arrays(weights(workdir, "finetune"), weights(steps, "finetune"))
    kept = lines(steps, "metrics.jsonl")
    assert kept == lines(workdir, "metrics.jsonl")

    # Asking for the feature_extract again must not undo what came after it.
    capsys.readouterr()
    train(photos, steps, **HEAD, epochs=2)
    assert "this run is complete" in capsys.readouterr().out
    assert lines(steps, "metrics.jsonl") == kept
    with pytest.raises(TrainerError, match=r"--epochs=3: .* has started from"):
        train(photos, steps, **HEAD, epochs=3)


@pytest.mark.slow
def test_finetune_refuses_another_runs_feature_extract(
    photos, extracted, tmp_path
):
    workdir = shutil.copytree(extracted, tmp_path / "run")
    with pytest.raises(TrainerError, match=r"--data_pct was 100.0, is 50.0"):
        train(photos, workdir, **FINETUNE, data_pct=50.0)


@pytest.mark.slow
def test_warm_start_takes_the_weights_and_a_fresh_optimizer(
    photos, finished, tmp_path
):
    workdir, _ = finished
    warm = tmp_path / "warm"
    result = train(
        photos,
        warm,
        **HEAD,
        init_from=str(workdir),
        learning_rate=1e-9,
        augment=False,
    )
    # Its own steps begin at 0, and nothing but the head can have moved.
    assert result["steps"] == 3
    mine, theirs = (
        weights(warm, "feature_extract"),
        weights(workdir, "finetune"),
    )
    for key, value in mine.items():
        if key.startswith("model/") and "head" not in key:
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
        elif key.startswith("model/"):
            np.testing.assert_allclose(value, theirs[key], atol=1e-7)


@pytest.mark.slow
def test_finetune_refuses_a_head_with_epochs_left(
    photos, extracted, tmp_path, monkeypatch
):
    workdir = shutil.copytree(extracted, tmp_path / "run")
    end = loop.StageLoop._end_epoch

    def stop(self):
        end(self)
        raise StopError

    monkeypatch.setattr(loop.StageLoop, "_end_epoch", stop)
    with pytest.raises(StopError):
        train(photos, workdir, **HEAD, epochs=4)
    monkeypatch.undo()
    with pytest.raises(TrainerError, match="feature_extract is not complete"):
        train(photos, workdir, **FINETUNE)


def test_warm_start_with_other_classes_is_refused(finished, tmp_path):
    workdir, _ = finished
    other = make_photos(tmp_path / "p", classes=("a", "b"))
    with pytest.raises(TrainerError, match=r"--init_from='.*': its classes"):
        train(other, tmp_path / "run", init_from=str(workdir), **TINY)


def test_evaluate_without_a_checkpoint_is_an_error(tmp_path):
    config = Config(stage="evaluate", workdir=str(tmp_path))
    with pytest.raises(TrainerError, match="holds no checkpoint") as error:
        evaluate(config, frozenset({"stage", "workdir"}))
    assert error.value.exit_status == 1
