"""The start and the end of a training run."""

from __future__ import annotations

import os
import pathlib

import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.runs import lines, small
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run import training
from trainer.run.stages import TrainingRun


@pytest.fixture
def config(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos")
    fields = small(photos, tmp_path / "run", backbone_args="", weights="none")
    return Config(**{**fields, "stage": "feature_extract"})


def test_a_mistyped_dataset_leaves_no_workdir(tmp_path):
    workdir = tmp_path / "run"
    fields = {"dataset": "no_such_data", "workdir": str(workdir)}
    with pytest.raises(TrainerError, match="neither a folder nor a TFDS name"):
        training.train(Config(**fields, weights="none"))
    assert not workdir.exists()


def test_an_existing_workdir_is_not_removed(tmp_path):
    fields = {"dataset": "no_such_data", "workdir": str(tmp_path)}
    with pytest.raises(TrainerError):
        training.train(Config(**fields, weights="none"))
    assert os.path.isdir(tmp_path)


def test_an_image_that_vanishes_is_one_line(config, monkeypatch):
    def vanish(self):
        raise tf.errors.NotFoundError(
            None, None, "a/b.jpg; No such file or directory [[{{node x}}]]\nat"
        )

    monkeypatch.setattr(TrainingRun, "run", vanish)
    with pytest.raises(TrainerError) as error:
        training.train(config)
    assert str(error.value) == (
        "feature_extract: a/b.jpg; No such file or directory; fix the cause,"
        " and the same command resumes from the last checkpoint"
    )
    last = lines(pathlib.Path(config.workdir), "events.jsonl")[-1]
    assert last == {"event": "stop", "reason": "NotFoundError"}
