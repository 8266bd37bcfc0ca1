"""Solved heads by the command line: processes, the study, refusals."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support.command import arguments, command
from tests.support.jobs import Job, run_command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, lines, weights
from tests.support.tiny import use_tiny_backbone

pytestmark = pytest.mark.slow
HEAD = "feature_extract"


@pytest.fixture
def said(tmp_path, monkeypatch):
    """The arguments of a run with a solved head."""
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos", train=9)

    def made(workdir: pathlib.Path, **values: object) -> list[str]:
        fields = {
            "stage": HEAD,
            "dataset": photos,
            "workdir": workdir,
            "backbone": "MobileNetV2",
            "weights": "none",
            "image_size": 32,
            "batch_size": 12,
            "head_solver": "lbfgs",
        }
        return arguments({**fields, **values})

    return made


def test_several_processes_are_refused_in_one_line(said, tmp_path):
    left = Job(
        2, tmp_path / "job", run_command, said(tmp_path / "run", head_l2="0.1")
    ).wait()
    assert [p.status for p in left] == [2, 2], left
    assert left[0].err.startswith("error: --head_solver=lbfgs: for one process")
    assert left[0].err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_study_solves_its_heads(said, tmp_path):
    ran = command(
        *said(tmp_path / "study", stage="study", models="0,1,2", head_l2=1)
    )
    assert ran.status == 0, ran.err
    for number in range(3):
        folder = tmp_path / f"study/seed0/model{number}"
        assert json.loads((folder / "result.json").read_text())["steps"] == 1
        assert lines(folder, "metrics.jsonl")[0]["l2"] == 1
    # The images are not augmented, so these two are the same head.
    zero, two = (
        weights(tmp_path / f"study/seed0/model{number}", HEAD)
        for number in (0, 2)
    )
    assert_same_arrays(zero, two)


def test_the_plan_shows_how_the_head_is_found(said, tmp_path):
    ran = command(*said(tmp_path / "run", dry_run=True, head_l2=0.5))
    assert ran.status == 0, ran.err
    assert "head solved by L-BFGS on un-augmented images, L2 0.5" in ran.out


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"epochs": 3}, "--epochs: not read with --head_solver=lbfgs"),
        ({"head_l2": "x"}, "--head_l2='x': must be auto or a number"),
        (
            {"head_solver": "adam", "head_l2": 0.1},
            "--head_l2=0.1: read only with --head_solver=lbfgs",
        ),
    ],
    ids=["epochs", "l2", "adam"],
)
def test_misplaced_flags_are_refused_in_one_line(said, tmp_path, values, error):
    ran = command(*said(tmp_path / "run", **values))
    assert ran.status == 2
    assert ran.err.startswith(f"error: {error}")
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
