"""Whole runs with class weights: their file, caches, losses and resume."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from tests.support.photos import CLASSES, make_photos
from tests.support.runs import lines, small, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.run.training import dry_run

HEAD = {
    "stage": "feature_extract",
    "backbone_args": "",
    "weights": "none",
    "augment": False,
}


@pytest.fixture
def photos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use_tiny_backbone(monkeypatch)
    return make_photos(tmp_path / "photos", train=6)


def written(path: pathlib.Path, *values: float) -> str:
    path.write_text(json.dumps(dict(zip(sorted(CLASSES), values, strict=True))))
    return str(path)


@pytest.mark.slow
def test_resume_with_a_changed_file_is_refused(photos, tmp_path):
    path, other = tmp_path / "one.json", tmp_path / "two.json"
    asked = {**HEAD, "class_weights": written(path, 1, 2, 3)}
    train(photos, tmp_path / "run", **asked)
    record = json.loads((tmp_path / "run/config.json").read_text())
    values = record["runs"]["feature_extract"]["class_weight_values"]
    assert values == [1, 2, 3]
    written(path, 1, 2, 4)
    with pytest.raises(TrainerError, match=r"class_weight_values was \[1") as e:
        train(photos, tmp_path / "run", **asked, epochs=2)
    assert "\n" not in str(e.value)
    # Another file with the same content is the same run.
    asked["class_weights"] = written(other, 1, 2, 3)
    assert train(photos, tmp_path / "run", **asked, epochs=2)["epochs"] == 2


@pytest.mark.slow
def test_only_the_training_loss_is_weighted(photos, tmp_path):
    """Twice the weight of each class is twice the training loss."""
    losses = []
    for values in ((1, 1, 1), (2, 2, 2)):
        path = tmp_path / str(values[0])
        weights = written(tmp_path / "w.json", *values)
        # Such a rate moves no weight.
        asked = {**HEAD, "class_weights": weights, "learning_rate": 1e-30}
        train(photos, path, **asked)
        losses.append(
            [
                line["loss"]
                for line in lines(path, "metrics.jsonl")
                if line["span"] in ("epoch", "final")
            ]
        )
    one, two = np.array(losses)
    assert len(one) == 3
    np.testing.assert_allclose(two / one, [2, 1, 1], rtol=1e-6)


def test_plan_shows_balanced_weights(photos, tmp_path, capsys):
    extra = sorted(pathlib.Path(photos, "train", "sushi").iterdir())[3:]
    for path in extra:
        path.unlink()
    asked = {**HEAD, "class_weights": "balanced"}
    dry_run(Config(**small(photos, tmp_path / "run", **asked)))
    # 15 photos: 15 / (3 * 6) and 15 / (3 * 3).
    line = "class weights of the training loss: apple pie 0.8333, "
    assert line + "sushi 1.667, борщ 0.8333\n" in capsys.readouterr().out
    one = tmp_path / "one.json"
    one.write_text('{"apple pie": 1, "sushi": 1}')
    asked["class_weights"] = str(one)
    with pytest.raises(UsageError, match="has no weight for class 'борщ'"):
        dry_run(Config(**small(photos, tmp_path / "run", **asked)))
