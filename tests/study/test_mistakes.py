"""The mistakes of a study, from files of a run written by hand."""

from __future__ import annotations

import pathlib

import pytest

from tests.support.photos import make_photos
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results.predictions_file import COLUMNS
from trainer.study.mistakes import find_mistakes
from trainer.workdir import CONFIG, PREDICTIONS, Workdir

CLASSES = ("a", "b", "c")
# Id, true class, predicted class and its probability.
ROWS = (
    ("a/000.jpg", "a", "a", 0.9),
    ("a/001.jpg", "a", "c", 0.6),
    ("b/000.jpg", "b", "a", 0.8),
    ("c/000.jpg", "c", "b", 0.7),
    ("b/001.jpg", "b", "c", 0.7),
    ("c/001.jpg", "c", "c", 0.5),
)


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Config:
    """A run on six test images, whose last file is predictions.csv."""
    photos = make_photos(tmp_path / "photos", train=1, test=2, classes=CLASSES)
    config = Config(
        stage="finetune",
        dataset=photos,
        backbone="MobileNetV2",
        image_size=8,
        workdir=str(tmp_path / "run"),
    )
    workdir = Workdir(str(tmp_path / "run"))
    workdir.create()
    workdir.write_json(CONFIG, {"config": config.to_json()})
    lines = [COLUMNS, *((*row, 0.1) for row in reversed(ROWS))]
    text = "".join(",".join(map(str, line)) + "\n" for line in lines)
    workdir.write_text(PREDICTIONS, text)
    return config


def test_mistakes_are_in_descending_order_of_confidence(
    config: Config,
) -> None:
    """Ties are in the order of ids."""
    found = find_mistakes(config)
    assert [
        (row["id"], row["true"], row["predicted"], row["confidence"])
        for row in found
    ] == [
        ("b/000.jpg", "b", "a", 0.8),
        ("b/001.jpg", "b", "c", 0.7),
        ("c/000.jpg", "c", "b", 0.7),
        ("a/001.jpg", "a", "c", 0.6),
    ]
    assert len({row["image"] for row in found}) == 4


def test_without_predictions_there_is_an_error(config: Config) -> None:
    (pathlib.Path(config.workdir or "") / PREDICTIONS).write_text("damaged")
    with pytest.raises(TrainerError, match="evaluate writes it again"):
        find_mistakes(config)
