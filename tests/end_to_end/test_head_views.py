"""Whole runs whose head reads cached features of augmented views."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.cached_runs import TINY, forget, tiny_runs_without_rows
from tests.support.command import arguments, command
from tests.support.photos import make_photos
from tests.support.runs import (
    assert_same_arrays,
    copied_after,
    lines,
    small,
    train,
    weights,
)
from trainer.config import Config
from trainer.learning import solved_stage
from trainer.learning.inputs import Inputs
from trainer.run import training

HEAD = "feature_extract"
ADAM = {**TINY, "stage": HEAD, "unfreeze": "last:10", "epochs": 3}
SOLVED = {**ADAM, "epochs": 1, "head_solver": "lbfgs", "head_views": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny_runs_without_rows(monkeypatch):
        yield


def run(photos: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    forget()
    fields = {"trunk_engine": "graph", "cache_dir": str(workdir.parent / "c")}
    return train(photos, workdir, **{**fields, **values})


def assert_same_ends(one: pathlib.Path, two: pathlib.Path) -> None:
    assert_same_arrays(weights(one, HEAD), weights(two, HEAD))
    assert lines(one, "metrics.jsonl") == lines(two, "metrics.jsonl")


@pytest.fixture(scope="module")
def three_views(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The workdir of a run with a view for each epoch."""
    workdir = tmp_path_factory.mktemp("views") / "three"
    with (
        pytest.MonkeyPatch.context() as patch,
        tiny_runs_without_rows(patch),
    ):
        run(photos, workdir, **ADAM, head_views=3, cache="ram")
    return workdir


@pytest.mark.slow
def test_a_head_on_cached_views_is_that_of_an_augmented_run(
    photos: str, tmp_path: pathlib.Path
) -> None:
    """On two replicas, with more views than epochs; test_mixed_runs has one."""
    values = {**ADAM, "strategy": "mirrored", "logical_cpus": 2}
    values |= {"head_views": 5}
    run(photos, tmp_path / "plain", **{**values, "head_views": 0})
    run(photos, tmp_path / "views", **values)
    assert_same_ends(tmp_path / "plain", tmp_path / "views")
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: Any) -> None:
            raise AssertionError("rows are computed again")

        patch.setattr(Inputs, "_computed", fail)
        run(photos, tmp_path / "again", **values)
    assert_same_ends(tmp_path / "plain", tmp_path / "again")


@pytest.mark.slow
def test_fewer_views_than_epochs_are_read_in_turn(
    photos: str, three_views: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The first epochs are those of more views; the next differs."""
    run(photos, tmp_path / "two", **ADAM, head_views=2)
    two, three = (
        [m["loss"] for m in lines(workdir, "metrics.jsonl")
         if m["span"] == "epoch" and m["split"] == "train"]
        for workdir in (tmp_path / "two", three_views)
    )  # fmt: skip
    assert two[:2] == three[:2]
    assert two[2] != three[2]


@pytest.mark.slow
def test_a_finetune_with_views_resumes_to_the_same_bits(
    photos: str, tmp_path: pathlib.Path
) -> None:
    values = {**SOLVED, "stage": "finetune", "epochs": 2, "unfreeze": "last:3"}
    with copied_after(1, tmp_path / "again"):
        whole = run(photos, tmp_path / "whole", **values)
    again = run(photos, tmp_path / "again", **values)
    assert again["test_loss"] == whole["test_loss"]
    for stage in (HEAD, "finetune"):
        assert_same_arrays(
            weights(tmp_path / "again", stage),
            weights(tmp_path / "whole", stage),
        )


@pytest.mark.slow
def test_a_kill_while_views_are_computed_changes_nothing(
    photos: str,
    three_views: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {**ADAM, "head_views": 3}

    class Killed(BaseException):
        pass

    real = Inputs._computed

    def computed(self: Inputs, *args: Any) -> Iterator[list[np.ndarray]]:
        for block in real(self, *args):
            if args[3] == "features of view 2/3":
                raise Killed
            yield block

    with monkeypatch.context() as patch:
        patch.setattr(Inputs, "_computed", computed)
        with pytest.raises(Killed):
            run(photos, tmp_path / "run", **values)
    run(photos, tmp_path / "run", **values)
    assert_same_ends(three_views, tmp_path / "run")


@pytest.mark.slow
def test_a_solved_head_averages_over_all_views(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solution is a minimum of the mean over all views, by its gradient.

    And all views of an image are held out together.
    """
    kept: dict[str, Any] = {}
    solve, validate = solved_stage.solve, solved_stage.cross_validate
    finite = solved_stage.check_finite_rows

    def solving(rows: np.ndarray, labels: np.ndarray, *args: Any, **kw: Any):
        kept["labels"] = labels
        return solve(rows, labels, *args, **kw)

    def validating(axes: Any, labels: Any, classes: Any, folds: Any, **kw: Any):
        kept["folds"] = folds
        return validate(axes, labels, classes, folds, **kw)

    def checking(rows: np.ndarray, ids: Any) -> None:
        kept["rows"] = rows
        finite(rows, ids)

    monkeypatch.setattr(solved_stage, "solve", solving)
    monkeypatch.setattr(solved_stage, "cross_validate", validating)
    monkeypatch.setattr(solved_stage, "check_finite_rows", checking)
    run(photos, tmp_path / "run", **SOLVED)
    passes = 2 + solved_stage.PLAIN_VIEW
    rows, labels = kept["rows"].astype(np.float64), kept["labels"]
    assert len(rows) == len(labels) == 21 * passes
    folds = kept["folds"].reshape(passes, 21)
    assert (folds == folds[0]).all()
    arrays = weights(tmp_path / "run", HEAD)
    kernel, bias = (
        value.astype(np.float64)
        for name in ("kernel", "bias")
        for key, value in arrays.items()
        if key.startswith("model/") and f"head.S{name}" in key
    )
    logits = rows @ kernel + bias
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    residual = shifted / shifted.sum(1, keepdims=True)
    residual[np.arange(len(labels)), labels] -= 1
    record = json.loads((tmp_path / "run/head_path.json").read_text())
    scale = rows.std(0) + 1e-3
    gradient = rows.T @ residual / len(rows)
    # The bias takes the mean, so the raw gradient is that of the penalty.
    penalty = record["l2"] * kernel * scale[:, None] ** 2
    np.testing.assert_allclose(residual.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(
        gradient, -penalty, atol=2e-3 * np.abs(gradient).max() + 1e-7
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"augment": "off"}, "not possible with --augment=off"),
        ({"cache": "off"}, "not possible with --cache=off"),
        ({"trunk_engine": "step"}, "not possible with --trunk_engine=step"),
        (
            {"stage": "finetune", "init_from": "elsewhere"},
            "which does not run with --init_from",
        ),
        (
            {"stage": "finetune", "head_epochs": 0},
            "which does not run with --head_epochs=0",
        ),
        ({"head_views": -1}, "must be a whole number from 0 to 1000"),
        ({"stage": "study"}, "not read by --stage=study"),
    ],
    ids=str,
)
def test_views_that_cannot_be_are_refused(
    photos: str, tmp_path: pathlib.Path, values: dict[str, Any], words: str
) -> None:
    fields = {"stage": HEAD, "head_views": 2, "dataset": photos, **values}
    said = command(*arguments({**fields, "workdir": tmp_path / "run"}))
    assert said.status == 2
    assert said.err.startswith("error: --head_views")
    assert words in said.err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_views_shows_the_plan_and_writes_nothing(
    photos: str, tmp_path: pathlib.Path
) -> None:
    values = {**TINY, "stage": HEAD, "epochs": 2, "head_views": 2}
    fields = {**small(photos, tmp_path / "run", **values), "dry_run": True}
    fields["cache_dir"] = str(tmp_path / "cache")
    forget()
    manifest = training.dry_run(Config(**fields))
    assert len(manifest.train) == 21
    assert not list(tmp_path.iterdir())
