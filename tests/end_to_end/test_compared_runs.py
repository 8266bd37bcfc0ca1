"""Runs that are trained, evaluated again and compared."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import pytest

from tests.support.command import Said, command
from tests.support.photos import make_photos

pytestmark = pytest.mark.usefixtures("tiny")
NAMES = ("apple pie", "sushi", "борщ")


@pytest.fixture
def two(finished, tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    """Two copies of a finished run."""
    for name in ("one", "two"):
        shutil.copytree(finished[0], tmp_path / name)
    return tmp_path / "one", tmp_path / "two"


def compare(*workdirs: pathlib.Path) -> Said:
    named = ",".join(map(str, workdirs))
    return command("--stage=compare", f"--workdirs={named}")


def evaluate(workdir: pathlib.Path, *flags: str) -> str:
    said = command("--stage=evaluate", f"--workdir={workdir}", *flags)
    assert (said.status, said.err) == (0, "")
    return said.out


def test_predictions_give_the_confusion_of_the_result(finished):
    workdir, result = finished
    path = workdir / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    confusion = [[0] * 3 for _ in NAMES]
    for row in rows:
        assert row["id"].split("/")[0] == row["true"]
        confusion[NAMES.index(row["true"])][NAMES.index(row["predicted"])] += 1
        own, top = float(row["true_probability"]), float(row["probability"])
        assert own <= top <= 1
        assert (own == top) is (row["true"] == row["predicted"])
    assert confusion == result["test_confusion"]
    # The order of the manifest.
    manifest = json.loads((workdir / "manifest.json").read_text("utf-8"))
    assert [row["id"] for row in rows] == manifest["splits"]["test"]["ids"]


def test_the_command_that_compare_names_writes_the_predictions(two):
    """An earlier version wrote no predictions."""
    one, other = two
    written = (other / "predictions.csv").read_bytes()
    (other / "predictions.csv").unlink()
    said = compare(one, other)
    assert said.status == 1
    remedy = said.err.rstrip("\n").partition("python main.py ")[2]
    out = command(*remedy.split(" ")).out
    assert f"predictions: {other}/predictions.csv" in out
    assert (other / "predictions.csv").read_bytes() == written
    said = compare(one, other)
    assert (said.status, said.err) == (0, "")
    assert "+0.0000  [+0.0000, +0.0000]" in said.out.replace("   ", "")


@pytest.mark.slow
def test_only_the_final_evaluation_writes_predictions(two, tmp_path):
    workdir, _ = two
    path = workdir / "predictions.csv"
    path.unlink()
    other = make_photos(tmp_path / "other", train=2, test=2)
    for flags, why in (
        (
            ["--checkpoint=best"],
            "--checkpoint=best is not the checkpoint of the run's result",
        ),
        ([f"--dataset={other}"], "these are not the images that the run was"),
    ):
        out = evaluate(workdir, *flags)
        assert f"predictions.csv: not written, because {why}" in out
        assert not path.exists()
    (workdir / "result.json").unlink()
    assert "because the run is not finished" in evaluate(workdir)
    assert not path.exists()


@pytest.mark.parametrize(
    "dry", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_unbalanced_data_are_named_before_training(tmp_path, dry):
    photos = pathlib.Path(make_photos(tmp_path / "photos", train=6, test=1))
    for path in sorted((photos / "train/sushi").iterdir())[2:]:
        path.unlink()
    said = command(
        "--stage=feature_extract",
        f"--dataset={photos}",
        f"--workdir={tmp_path}/run",
        "--backbone=MobileNetV2",
        "--weights=none",
        "--image_size=32",
        "--epochs=1",
        f"--dry_run={dry}",
    )
    assert said.status == 0, said.err
    line = "data: unbalanced, 2 images of sushi to 6 of apple pie; accuracy"
    before, found, after = said.out.partition(line)
    assert found
    assert "\ndata: 3 classes; train: 14 photos from photos/train/" in before
    assert "epoch 1/1" not in before
    assert ("epoch 1/1" in after) is not dry
