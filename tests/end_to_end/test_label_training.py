"""Fine-tuning on images with several labels: restarts, replicas, groups."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.support.command import arguments, command
from tests.support.jobs import Job, run_command
from tests.support.label_photos import make_label_table
from tests.support.runs import (
    TINY,
    assert_same_runs,
    copied_after,
    train,
    weights,
)

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.slow]
FINETUNE = {
    **TINY,
    "stage": "finetune",
    "task": "multilabel",
    "monitor": "loss",
    "validation": "train:0.25",
    "unfreeze": "last:3",
    "learning_rate": 0.01,
    "tta": "flip",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_label_table(tmp_path_factory.mktemp("several") / "data")


@pytest.fixture(scope="module")
def tuned(
    table: str, tiny: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """A finetune run without a cache, and its result; `killed` is a copy."""
    workdir = tmp_path_factory.mktemp("several-tuned") / "run"
    values = {**FINETUNE, "checkpoint_every_steps": 2, "cache": "off"}
    with copied_after(2, workdir.parent / "killed"):
        return workdir, train(table, workdir, **values)


def test_a_killed_run_ends_with_the_same_bits(
    table: str, tuned: tuple[pathlib.Path, dict[str, Any]]
) -> None:
    """The resumed run caches images; that of the fixture does not."""
    killed = tuned[0].parent / "killed"
    again = train(table, killed, **FINETUNE, checkpoint_every_steps=2)
    assert_same_runs(tuned, (killed, again))


def test_two_replicas_train_like_one(
    table: str,
    tuned: tuple[pathlib.Path, dict[str, Any]],
    tmp_path: pathlib.Path,
) -> None:
    workdir, result = tuned
    values = {**FINETUNE, "strategy": "mirrored", "logical_cpus": 2}
    found = train(table, tmp_path / "two", **values)
    assert found["test_map"] == pytest.approx(result["test_map"], abs=1e-6)
    assert found["test_loss"] == pytest.approx(result["test_loss"], rel=1e-4)
    one = weights(workdir, "finetune")
    two = weights(tmp_path / "two", "finetune")
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-3, atol=1e-5)


def test_two_processes_train_like_one(
    table: str, tmp_path: pathlib.Path
) -> None:
    """The batches of 12 end with three images, so one process has padding."""
    values = {
        "stage": "feature_extract",
        "task": "multilabel",
        "dataset": table,
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 12,
        "epochs": 1,
        "validation": "train:0.25",
        "learning_rate": 0.01,
    }
    said = command(*arguments({**values, "workdir": tmp_path / "one"}))
    assert said.status == 0, said.err
    shared = arguments({**values, "workdir": tmp_path / "two"})
    left = Job(2, tmp_path / "jobs", run_command, shared).wait()
    assert [(one.status, one.err) for one in left] == [(0, "")] * 2
    one, two = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("one", "two")
    )
    for name in ("test_loss", "test_map", "best_validation_loss"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    assert two["test_examples"] == one["test_examples"]
    assert two["thresholds"] == pytest.approx(one["thresholds"], abs=1e-4)
    before = weights(tmp_path / "one", "feature_extract")
    for key, value in weights(tmp_path / "two", "feature_extract").items():
        np.testing.assert_allclose(value, before[key], rtol=1e-3, atol=1e-5)


def test_groups_and_the_best_recipe_train(tmp_path: pathlib.Path) -> None:
    table = make_label_table(tmp_path / "data", group=3)
    said = command(
        "--stage=finetune",
        "--recipe=best",
        "--task=multilabel",
        f"--dataset={table}",
        "--validation=auto",
        "--monitor=map",
        "--mix=mixup:0.2",
        "--data_pct=60",
        "--backbone=MobileNetV2",
        "--weights=none",
        "--image_size=32",
        "--batch_size=8",
        "--epochs=1",
        "--min_steps=0",
        f"--workdir={tmp_path / 'run'}",
    )
    assert said.status == 0, said.err
    stored = json.loads((tmp_path / "run/manifest.json").read_text())
    groups = stored["groups"]
    assert not set(groups["train"]) & set(groups["test"])
    of = dict(
        zip(stored["splits"]["train"]["ids"], groups["train"], strict=True)
    )
    sides = [
        {of[name] for name in stored[f"{split}_ids"]}
        for split in ("train", "validation")
    ]
    assert not sides[0] & sides[1]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["monitor"] == "map"
    assert result["best_monitor_value"] == result["best_validation_map"]
    assert 0 <= result["test_map"] <= 1
    assert "best validation mAP" in said.out
