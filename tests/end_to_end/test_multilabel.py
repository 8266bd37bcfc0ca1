"""Whole runs on images with several labels, and the use of a finished run."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import shutil
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import metrics

from tests.support.command import Said, command
from tests.support.label_photos import LABELS, make_label_table
from tests.support.runs import (
    TINY,
    assert_same_runs,
    lines,
    stopped_after,
    train,
)

pytestmark = pytest.mark.usefixtures("tiny")
SOLVED = {
    **TINY,
    "stage": "feature_extract",
    "task": "multilabel",
    "monitor": "loss",
    "validation": "train:0.25",
    "head_solver": "lbfgs",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_label_table(tmp_path_factory.mktemp("several") / "data")


@pytest.fixture(scope="module")
def finished(
    table: str, tiny: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """A run with a solved head, and its result."""
    workdir = tmp_path_factory.mktemp("several-run") / "run"
    return workdir, train(table, workdir, **SOLVED)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def said_by(stage: str, workdir: pathlib.Path, *more: str) -> Said:
    said = command(f"--stage={stage}", f"--workdir={workdir}", *more)
    assert said.status == 0, said.err
    return said


def test_predictions_explain_the_result(
    finished: tuple[pathlib.Path, dict[str, Any]], table: str
) -> None:
    workdir, result = finished
    rows = rows_of((workdir / "predictions.csv").read_text())
    columns = [f"probability_{name}" for name in LABELS]
    assert list(rows[0]) == ["id", "true", "predicted", *columns]
    labels_of = {
        row["path"]: row["label"]
        for row in rows_of(pathlib.Path(table).read_text())
    }
    assert {row["id"]: row["true"] for row in rows}.items() <= labels_of.items()
    true = np.array(
        [[name in row["true"].split("|") for name in LABELS] for row in rows]
    )
    chances = np.array([[row[c] for c in columns] for row in rows], np.float32)
    assert result["test_examples"] == len(rows) >= 9
    assert result["task"] == "multilabel"
    assert "accuracy" not in " ".join(result)
    scores = metrics.average_precision_score(true, chances, average=None)
    assert result["test_map"] == pytest.approx(scores.mean(), abs=1e-6)
    limits = np.array([result["thresholds"][n] for n in LABELS], np.float32)
    decided = chances >= limits
    assert [row["predicted"] for row in rows] == [
        "|".join(n for n, d in zip(LABELS, row, strict=True) if d)
        for row in decided
    ]
    assert result["test_micro_f1"] == pytest.approx(
        metrics.f1_score(true, decided, average="micro")
    )
    assert result["test_exact_match"] == metrics.accuracy_score(true, decided)
    loss = -np.log(np.where(true, chances, 1 - chances)).mean()
    assert result["test_loss"] == pytest.approx(loss, rel=1e-4)


def test_metrics_have_their_own_names(
    finished: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    workdir, result = finished
    found = lines(workdir, "metrics.jsonl")
    assert not [line for line in found if "accuracy" in line]
    of = {(line["split"], line["span"]): line for line in found}
    assert {"loss", "exact_match"} <= of["train", "epoch"].keys()
    assert of["validation", "epoch"]["map"] == result["best_validation_map"]
    assert of["test", "final"]["map"] == result["test_map"]
    assert result["monitor"] == "loss"
    assert result["best_monitor_value"] == result["best_validation_loss"]
    stored = json.loads((workdir / "manifest.json").read_text())
    labels = stored["splits"]["train"]["labels"]
    assert all(isinstance(label, list) for label in labels)


def test_evaluate_repeats_the_result(
    finished: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    workdir, result = finished
    before = (workdir / "predictions.csv").read_bytes()
    said = said_by("evaluate", workdir)
    found = json.loads((workdir / "evaluation.json").read_text())
    for name in found:
        if name.startswith("test_") or name == "thresholds":
            assert found[name] == result[name], name
    assert (workdir / "predictions.csv").read_bytes() == before
    assert f"mAP {result['test_map']:.4f}" in said.out
    assert "accuracy" not in said.out


def test_predict_has_labels_and_all_probabilities(
    finished: tuple[pathlib.Path, dict[str, Any]],
    table: str,
    tmp_path: pathlib.Path,
) -> None:
    workdir, _ = finished
    known = {
        row["id"]: row
        for row in rows_of((workdir / "predictions.csv").read_text())
    }
    folder = tmp_path / "images"
    folder.mkdir()
    for name in sorted(known)[:3]:
        shutil.copy(pathlib.Path(table).parent / name, folder)
    (folder / "bad.png").write_bytes(b"none")
    rows = rows_of(said_by("predict", workdir, f"--inputs={folder}").out)
    columns = [f"probability_{name}" for name in LABELS]
    assert list(rows[0]) == ["file", "labels", *columns, "error"]
    for row in rows:
        name = pathlib.Path(row["file"]).name
        if name == "bad.png":
            assert row["error"]
            assert {row[c] for c in ("labels", *columns)} == {""}
            continue
        assert row["labels"] == known[name]["predicted"]
        for column in columns:
            assert float(row[column]) == pytest.approx(
                float(known[name][column]), abs=2e-6
            )
    said = command(
        "--stage=predict",
        f"--workdir={workdir}",
        f"--inputs={folder}",
        "--top_k=2",
    )
    assert said.status == 2
    assert "--top_k=2: not read with a run whose images have" in said.err


def test_an_unfinished_stage_decides_at_one_half(
    finished: tuple[pathlib.Path, dict[str, Any]],
    table: str,
    tmp_path: pathlib.Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    images = f"--inputs={pathlib.Path(table).parent}"
    said = said_by("predict", run, images, "--checkpoint=last")
    assert (
        "warning: --checkpoint=last is not the checkpoint of the run's"
        in said.err
    )
    (run / "checkpoints/feature_extract/result.json").unlink()
    said = said_by("predict", run, images)
    assert "so the thresholds of all classes are 0.5" in said.err
    for row in rows_of(said.out):
        chances = [float(row[f"probability_{name}"]) for name in LABELS]
        reached = [
            name
            for name, chance in zip(LABELS, chances, strict=True)
            if chance >= 0.5
        ]
        assert row["labels"] == "|".join(reached)


REFUSED = {
    "evaluate a folder": (
        ["--stage=evaluate", "--workdir={run}", "--dataset={folder}"],
        "--task=multilabel: needs a table of images, but --dataset=",
    ),
    "embed a table": (
        [
            "--stage=embed",
            "--workdir={run}",
            "--dataset={table}",
            "--output={run}/x.npz",
        ],
        "the run's images have several labels, which embed cannot write",
    ),
    "compare": (
        ["--stage=compare", "--workdirs={run},{run}2"],
        "its images have several labels, which cannot be compared",
    ),
    "soup": (
        ["--stage=soup", "--workdirs={run},{run}2", "--workdir={run}3"],
        "its images have several labels, which cannot be compared",
    ),
    "another task": (
        [
            "--stage=feature_extract",
            "--workdir={run}4",
            "--dataset={single}",
            "--init_from={run}",
            "--backbone=MobileNetV2",
            "--weights=none",
            "--image_size=32",
        ],
        "its --task is 'multilabel', this run's is 'single'; give the same",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_uses_are_refused_in_one_line(
    finished: tuple[pathlib.Path, dict[str, Any]],
    table: str,
    tmp_path: pathlib.Path,
    name: str,
) -> None:
    arguments, expected = REFUSED[name]
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    shutil.copytree(finished[0], tmp_path / "run2")
    folder = pathlib.Path(table).parent
    images = sorted(str(path) for path in folder.glob("*.png"))
    rows = [f"{path},{LABELS[n % 4]}" for n, path in enumerate(images)]
    single = tmp_path / "single.csv"
    single.write_text("\n".join(["path,label", *rows]))
    values = {"run": run, "folder": folder, "table": table, "single": single}
    said = command(*(text.format(**values) for text in arguments))
    assert said.status in (1, 2)
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_damaged_thresholds_are_one_line(
    finished: tuple[pathlib.Path, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    marker = run / "checkpoints/feature_extract/result.json"
    values = json.loads(marker.read_text())
    marker.write_text(json.dumps({**values, "thresholds": {"red": 0.5}}))
    said = command("--stage=evaluate", f"--workdir={run}")
    assert said.status == 1
    assert "thresholds are not those of the classes" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.slow
def test_exports_decide_at_the_thresholds(
    finished: tuple[pathlib.Path, dict[str, Any]],
    table: str,
    tmp_path: pathlib.Path,
) -> None:
    workdir, result = finished
    said_by("export", workdir, f"--output={tmp_path / 'out'}", "--tta=flip")
    record = json.loads((tmp_path / "out/export.json").read_text())
    assert record["thresholds"] == result["thresholds"]
    assert record["class_names"] == list(LABELS)
    paths = sorted(pathlib.Path(table).parent.glob("*.png"))[:6]
    loaded = tf.saved_model.load(str(tmp_path / "out/saved_model"))
    answer = loaded.signatures["serving_bytes"](
        tf.constant([path.read_bytes() for path in paths])
    )
    assert set(answer) == {"probabilities", "decisions"}
    limits = np.array([result["thresholds"][n] for n in LABELS], np.float32)
    chances = answer["probabilities"].numpy()
    np.testing.assert_array_equal(answer["decisions"], chances >= limits)
    assert answer["decisions"].dtype == tf.int32
    assert not np.allclose(chances.sum(axis=1), 1)
    names = loaded.signatures["class_names"](tf.constant([3, 0], tf.int64))
    assert names["class_names"].numpy().tolist() == [b"red", b"blue"]
    np.testing.assert_array_equal(names["thresholds"], limits[[3, 0]])
    model = keras.models.load_model(tmp_path / "out/model.keras")
    pixels = np.stack(
        [np.array(Image.open(path).resize((32, 32))) for path in paths]
    )
    served = loaded.signatures["serving_default"](
        tf.constant(pixels, tf.float32)
    )
    by_keras = model(pixels.astype(np.float32), training=False)
    np.testing.assert_allclose(
        by_keras["probabilities"], served["probabilities"], atol=1e-5
    )
    np.testing.assert_array_equal(by_keras["decisions"], served["decisions"])


@pytest.mark.slow
def test_a_stopped_head_ends_with_the_same_bits(
    finished: tuple[pathlib.Path, dict[str, Any]],
    table: str,
    tmp_path: pathlib.Path,
) -> None:
    with stopped_after(1):
        train(table, tmp_path / "run", **SOLVED, cache="off")
    again = train(table, tmp_path / "run", **SOLVED)
    assert_same_runs(finished, (tmp_path / "run", again))
