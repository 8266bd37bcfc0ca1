"""Solved heads by the command line: processes, the study, refusals."""

from __future__ import annotations

import json
import multiprocessing
import pathlib
import signal
import time

import numpy as np
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


def ran(count: int, folder: pathlib.Path, words: list[str]) -> None:
    left = Job(count, folder, run_command, words).wait()
    assert [p.status for p in left] == [0] * count, left
    assert [p.err for p in left] == [""] * count
    assert left[0].out.count("\nhead: l2 ") == 1
    assert [p.out for p in left[1:]] == [""] * (count - 1)


def test_processes_solve_the_head_of_one(said, tmp_path):
    """27 samples in passes of 6: two processes have padding in the last."""
    one, many = tmp_path / "one", tmp_path / "many"
    # What several processes use without a cache: the layers of the step.
    values = {"batch_size": 6, "trunk_engine": "step", "cache": "off"}
    alone = command(*said(one, **values))
    assert alone.status == 0, alone.err
    ran(3, tmp_path / "job", said(many, **values))
    assert_same_arrays(weights(one, HEAD), weights(many, HEAD))
    for name in ("head_path.json", "head_path.svg"):
        assert (one / name).read_bytes() == (many / name).read_bytes()
    results = [json.loads((w / "result.json").read_text()) for w in (one, many)]
    for name in ("test_confusion", "steps", "audit", "test_examples"):
        assert results[0][name] == results[1][name]
    assert results[0]["test_loss"] == pytest.approx(results[1]["test_loss"])


def test_cached_features_of_processes_solve_the_same_head(said, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = command(*said(one, head_l2="0.1"))
    assert alone.status == 0, alone.err
    ran(2, tmp_path / "job", said(two, head_l2="0.1"))
    for alone, shared in zip(head_of(one), head_of(two), strict=True):
        apart = np.linalg.norm(alone - shared)
        assert apart <= 1e-4 * np.linalg.norm(alone)


def test_processes_resume_a_head_after_a_signal(said, tmp_path):
    """A signal to a process that does not write stops both; both resume."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    # Such a rate moves no weight, so finetune ends with the solved head.
    values = {"stage": "finetune", "epochs": 1, "learning_rate": 1e-30}
    values |= {"batch_size": 2, "augment": False}
    ran(2, tmp_path / "first", said(whole, batch_size=2))
    job = Job(2, tmp_path / "job", run_command, said(cut, **values))
    end = time.monotonic() + 100
    while not (cut / "config.json").exists():
        assert time.monotonic() < end, job.wait()
        time.sleep(0.02)
    job.kill(1, signal.SIGTERM)
    left = job.wait()
    assert [p.status for p in left] == [143, 143], left
    assert not (cut / "checkpoints/finetune").exists()
    ran(2, tmp_path / "again", said(cut, **values))
    head = weights(whole, HEAD)
    assert_same_arrays(head, weights(cut, HEAD))
    tuned = weights(cut, "finetune")
    for key in (k for k in head if "head" in k and k.startswith("model/")):
        np.testing.assert_allclose(head[key], tuned[key], rtol=0, atol=1e-20)


def test_four_replicas_solve_the_head_of_one(said, tmp_path):
    four = {"strategy": "mirrored", "logical_cpus": 4, "batch_size": 8}
    # A process cannot change its number of logical CPUs.
    context = multiprocessing.get_context("forkserver")
    for name, values in (("one", {}), ("four", four)):
        words = said(tmp_path / name, head_l2="0.1", **values)
        process = context.Process(target=run_command, args=(words,))
        process.start()
        process.join(300)
        assert process.exitcode == 0
    for one, other in zip(
        head_of(tmp_path / "one"), head_of(tmp_path / "four"), strict=True
    ):
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one)


def head_of(workdir: pathlib.Path) -> list[np.ndarray]:
    """Returns bias and kernel of the solved head."""
    found = weights(workdir, HEAD)
    return [
        found[key] for key in sorted(found) if key.startswith("model/head.S")
    ]


def test_study_solves_its_heads(said, tmp_path):
    ran = command(
        *said(tmp_path / "study", stage="study", models="0,2", head_l2=1)
    )
    assert ran.status == 0, ran.err
    for number in (0, 2):
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
