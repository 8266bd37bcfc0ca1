"""Whole runs on a table with weights: losses, resume and changed weights."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    assert_same_runs,
    lines,
    stopped_after,
    train,
)
from trainer.errors import TrainerError

pytestmark = pytest.mark.usefixtures("tiny")
HEAD = {**TINY, "stage": "feature_extract", "augment": False}


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(make_photos(tmp_path / "photos", train=6, test=3))


def table(photos: pathlib.Path, *weights: float) -> str:
    """Writes a table; the training images have the weights in turn."""
    rows = ["path,label,split,weight"]
    for number, photo in enumerate(sorted(photos.glob("train/*/*.jpg"))):
        weight = weights[number % len(weights)]
        name = photo.relative_to(photos).as_posix()
        rows.append(f"{name},{photo.parent.name},train,{weight}")
    for photo in sorted(photos.glob("test/*/*.jpg")):
        name = photo.relative_to(photos).as_posix()
        rows.append(f"{name},{photo.parent.name},test,7")
    path = photos / "d.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_only_the_training_loss_is_weighted(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = []
    for weight in (1, 2):
        path = tmp_path / str(weight)
        # Such a rate moves no weight.
        train(table(photos, weight), path, **HEAD, learning_rate=1e-30)
        losses.append(
            [
                line["loss"]
                for line in lines(path, "metrics.jsonl")
                if line["span"] in ("epoch", "final")
            ]
        )
    one, two = np.array(losses)
    np.testing.assert_allclose(two / one, [2, 1, 1], rtol=1e-6)
    stored = json.loads((tmp_path / "2/manifest.json").read_text())
    assert stored["train_weights"] == [2] * 18
    said = "weights from 2 to 2 in the training loss"
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_of_weight_0_does_not_change_a_solved_head(
    photos: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The images of weight 0 have another label in the second run.

    For steps, `tests/learning/test_row_weights.py` has rows of weight 0.
    """
    found = []
    for name in ("one", "two"):
        path = pathlib.Path(table(photos, 0, 1, 2))
        if name == "two":
            rows = path.read_text(encoding="utf-8").split("\n")
            labels = [row.split(",")[1] for row in rows[1:]]
            other = labels[-1]
            rows = [
                f"{row.split(',')[0]},{other},train,0"
                if row.endswith("train,0")
                else row
                for row in rows
            ]
            path.write_text("\n".join(rows), encoding="utf-8")
        asked = {"head_solver": "lbfgs", "head_l2": "0.1"}
        result = train(str(path), tmp_path / name, **HEAD, **asked)
        found.append(result["test_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(
    photos: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path, asked = table(photos, 0, 0.5, 3), {**HEAD, "epochs": 3}
    whole = train(path, tmp_path / "whole", **asked)
    with stopped_after(1):
        train(path, tmp_path / "run", **asked)
    resumed = train(path, tmp_path / "run", **asked)
    assert_same_runs((tmp_path / "whole", whole), (tmp_path / "run", resumed))
    table(photos, 0, 0.5, 4)
    with pytest.raises(TrainerError, match="data_fingerprint") as error:
        train(path, tmp_path / "run", **asked)
    assert "\n" not in str(error.value)
