"""Whole runs whose head is solved: results, resume, audit and errors."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.runs import (
    assert_same_arrays,
    lines,
    small,
    stopped_after,
    train,
    weights,
)
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.learning import head_features, solved_stage
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.principal_axes import rotated, standardisation
from trainer.results.evaluate import Evaluator
from trainer.results.head_chart import head_chart
from trainer.run import stages, training
from trainer.run.export import export
from trainer.run.trained import open_trained
from trainer.run.use import evaluate

HEAD, FINETUNE = "feature_extract", "finetune"
SOLVED = {
    "backbone_args": "",
    "weights": "none",
    "batch_size": 5,
    "head_solver": "lbfgs",
}


@pytest.fixture
def photos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use_tiny_backbone(monkeypatch)
    return make_photos(tmp_path / "photos", train=6)


def solve(photos: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    return train(photos, workdir, **{"stage": HEAD, **SOLVED, **values})


def head_of(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Kernel and bias, from the arrays of a checkpoint."""
    return [
        value
        for name in ("kernel", "bias")
        for key, value in arrays.items()
        if key.startswith("model/") and f"head.S{name}" in key
    ]


def test_solved_head_is_a_stage_of_one_step(photos, tmp_path, capsys):
    result = solve(photos, tmp_path / "run")
    assert result["steps"] == result["epochs"] == result["best_step"] == 1
    assert result["learning_rate"] is None
    assert result["audit"]["frozen_unchanged"]
    assert result["audit"]["trainable_changed"]
    assert result["audit"]["warnings"] == []
    one, two, final = lines(tmp_path / "run", "metrics.jsonl")
    record = json.loads((tmp_path / "run/head_path.json").read_text())
    assert one["split"] == "train"
    assert one["step"] == one["epoch"] == 1
    assert one["l2"] == record["l2"]
    assert 0 <= one["relative_gradient"] < 1e-6
    assert two["split"] == "validation"
    assert final["loss"] == result["test_loss"]
    for which in ("last", "best"):
        assert len(head_of(weights(tmp_path / "run", HEAD, which))) == 2
    drawn = (tmp_path / "run/head_path.svg").read_text()
    assert drawn == head_chart(record)[0]
    out = capsys.readouterr().out
    assert f"head: l2 {record['l2']:g} of 13 values by 5-fold" in out
    assert "\nfeature_extract solved  loss " in out


@pytest.mark.slow
def test_a_chart_that_cannot_be_drawn_is_a_warning(
    photos, tmp_path, monkeypatch, capsys
):
    def fail(record: dict[str, Any]) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(stages, "head_chart", fail)
    solve(photos, tmp_path / "run")
    (line,) = (
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("warning: ") and "chart" in line
    )
    assert "without the chart of head_path.json (no fonts)" in line
    assert not (tmp_path / "run/head_path.svg").exists()


@pytest.mark.slow
def test_finetune_starts_from_the_solved_head(photos, tmp_path):
    path = tmp_path / "run"
    # Such a learning rate moves no weight by more than 1e-29.
    result = solve(
        photos,
        path,
        stage=FINETUNE,
        learning_rate=1e-30,
        init_from_checkpoint="best",
        head_l2="0.1",
    )
    assert result["earlier_stages"][0]["steps"] == 1
    assert result["steps"] == 1 + 4
    for one, two in zip(
        head_of(weights(path, FINETUNE)),
        head_of(weights(path, HEAD, "best")),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-20)


@pytest.mark.slow
def test_resume_after_a_stop_is_bit_identical(photos, tmp_path):
    """After the head is saved."""
    values = {"stage": FINETUNE, "epochs": 2, "learning_rate": 1e-3}
    whole = solve(photos, tmp_path / "whole", **values)
    with stopped_after(1):
        solve(photos, tmp_path / "run", **values)
    again = solve(photos, tmp_path / "run", **values)
    for stage in (HEAD, FINETUNE):
        assert_same_arrays(
            weights(tmp_path / "run", stage), weights(tmp_path / "whole", stage)
        )
    assert again["test_loss"] == whole["test_loss"]
    assert lines(tmp_path / "run", "metrics.jsonl") == lines(
        tmp_path / "whole", "metrics.jsonl"
    )


@pytest.mark.slow
def test_stop_in_the_solved_stage_repeats_it(photos, tmp_path, monkeypatch):
    """First by a kill before the save, then by a signal in the validation."""
    whole = solve(photos, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(*args: object, **kinds: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", kill)
        with pytest.raises(Killed):
            solve(photos, tmp_path / "run")
    with monkeypatch.context() as patch:

        def stop(*args: object, **kinds: object) -> None:
            raise solved_stage.interrupt.Stopped(15)

        patch.setattr(Evaluator, "evaluate", stop)
        with pytest.raises(solved_stage.interrupt.Stopped):
            solve(photos, tmp_path / "run")
    again = solve(photos, tmp_path / "run")
    assert again["audit"] == whole["audit"]
    assert_same_arrays(
        weights(tmp_path / "run", HEAD), weights(tmp_path / "whole", HEAD)
    )
    assert lines(tmp_path / "run", "metrics.jsonl") == lines(
        tmp_path / "whole", "metrics.jsonl"
    )


@pytest.mark.slow
def test_cross_validation_sees_training_samples_only(
    photos, tmp_path, monkeypatch
):
    seen: list[list[str]] = []
    real = solved_stage.folds_of

    def folds_of(ids: Any, *args: Any, **kinds: Any) -> np.ndarray:
        seen.append(list(ids))
        return real(ids, *args, **kinds)

    monkeypatch.setattr(solved_stage, "folds_of", folds_of)
    solve(photos, tmp_path / "run", data_pct=50)
    (ids,) = seen
    assert len(ids) == 9
    # Photos of test have other pixels, so their heads would differ.
    for photo in (tmp_path / "photos/test").rglob("*.jpg"):
        photo.write_bytes((tmp_path / "photos/test/sushi/000.jpg").read_bytes())
    solve(photos, tmp_path / "other", data_pct=50)
    assert_same_arrays(
        weights(tmp_path / "run", HEAD), weights(tmp_path / "other", HEAD)
    )


@pytest.fixture
def backbone_file(tmp_path: pathlib.Path, photos: str) -> str:
    """Weights of a backbone that do not depend on the seed of a run."""
    del photos  # Puts the tiny backbone in its place.
    path = tmp_path / "tiny.weights.h5"
    tiny_backbone().save_weights(path)
    return str(path)


@pytest.mark.slow
def test_other_settings_give_the_same_head(photos, tmp_path, backbone_file):
    fixed = {"head_l2": "0.1", "weights": backbone_file}
    solve(photos, tmp_path / "run", **fixed)
    head = head_of(weights(tmp_path / "run", HEAD))
    for number, values in enumerate(
        (
            {"trunk_engine": "step", "batch_size": 7, "seed": 3},
            {"strategy": "mirrored", "logical_cpus": 2, "batch_size": 4},
        )
    ):
        other = tmp_path / f"other{number}"
        solve(photos, other, **fixed, **values)
        for one, two in zip(head, head_of(weights(other, HEAD)), strict=True):
            apart = np.linalg.norm(one - two)
            assert apart <= 1e-4 * np.linalg.norm(one), values


def test_classifier_gives_the_logits_of_the_solved_head(
    photos, tmp_path, monkeypatch
):
    kept: list[Any] = []
    real = solved_stage.SolvedStage._solve

    def solving(self: Any, features: np.ndarray) -> Any:
        found = real(self, features)
        kept[:] = [features, found.solution]
        return found

    monkeypatch.setattr(solved_stage.SolvedStage, "_solve", solving)
    solve(photos, tmp_path / "run")
    features, solution = kept
    by = standardisation(features)
    axes = rotated(features, by).axes
    kernel, bias = head_of(weights(tmp_path / "run", HEAD))
    expected = by.apply(features) @ (axes @ solution.kernel) + solution.bias
    np.testing.assert_allclose(
        features @ kernel + bias,
        expected,
        atol=1e-5 * max(1.0, np.abs(expected).max()),
    )


def test_separable_photos_without_l2_are_a_warning(photos, tmp_path, capsys):
    solve(photos, tmp_path / "run", head_l2="0")
    assert "warning: --head_l2=0: the classes are" in capsys.readouterr().out


def test_one_photo_per_class_uses_the_fixed_strength(photos, tmp_path, capsys):
    solve(photos, tmp_path / "run", data_pct=1)
    out = capsys.readouterr().out
    assert "head: l2 0.1, because one image per class leaves none" in out
    assert not (tmp_path / "run/head_path.json").exists()


def test_features_that_are_not_finite_are_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        head_features,
        "feature_function",
        lambda *_: lambda images: tf.fill((len(images), 16), np.nan),
    )
    with pytest.raises(TrainerError, match="its features are not finite"):
        solve(photos, tmp_path / "run", trunk_engine="step")


@pytest.mark.slow
def test_solved_head_is_evaluated_and_exported(photos, tmp_path, capsys):
    """A run that starts with it is refused, because it solves the same head."""
    result = solve(photos, tmp_path / "run")
    given = frozenset({"stage", "workdir"})
    config = Config(stage="evaluate", workdir=str(tmp_path / "run"))
    evaluate(config, given)
    export(
        Config(
            stage="export",
            workdir=str(tmp_path / "run"),
            export_formats="keras",
        ),
        given | {"export_formats"},
    )
    assert f"{result['test_accuracy']:.4f}" in capsys.readouterr().out
    found = open_trained(
        Config(stage="predict", inputs=photos, workdir=str(tmp_path / "run")),
        given,
    )
    assert found.step == 1
    assert list((tmp_path / "run/export").iterdir())
    with pytest.raises(TrainerError, match="so nothing was trained"):
        solve(photos, tmp_path / "two", init_from=str(tmp_path / "run"))


def test_a_complete_run_is_not_repeated(photos, tmp_path, capsys):
    solve(photos, tmp_path / "run")
    capsys.readouterr()
    training.train(
        Config(**small(photos, tmp_path / "run", stage=HEAD, **SOLVED))
    )
    assert "this run is complete" in capsys.readouterr().out
