"""How a training run begins and ends, besides the training itself."""

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
from trainer.model.architectures import architecture_json
from trainer.model.backbones import build_backbone
from trainer.model.weights.forms import form_of_architecture
from trainer.run import training
from trainer.run.prepare import prepare
from trainer.run.stages import TrainingRun
from trainer.workdir import BACKBONE, Workdir


@pytest.fixture
def config(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos")
    fields = small(photos, tmp_path / "run", backbone_args="", weights="none")
    return Config(**{**fields, "stage": "feature_extract"})


@pytest.mark.parametrize("form", ["imagenet", "keras_none"])
def test_a_warm_start_keeps_the_form_of_its_source(form, tmp_path):
    backbone = build_backbone("EfficientNetB0", {}, 32, form=form)
    text = architecture_json(backbone)
    assert form_of_architecture(text) == form
    Workdir(str(tmp_path)).write_json(BACKBONE, {"architecture": text})
    # Whatever form --weights would mean.
    request = prepare(
        Config(
            backbone="EfficientNetB0",
            weights="none",
            image_size=32,
            init_from=str(tmp_path),
            workdir="w",
        )
    )
    assert request.weights.form == "keras_none"
    assert training._in_form_of_source(request).weights.form == form


def test_an_architecture_of_another_family_has_no_form():
    backbone = build_backbone("VGG16", {}, 32, form="n/a")
    with pytest.raises(ValueError, match="not an EfficientNet"):
        form_of_architecture(architecture_json(backbone))


def test_a_mistyped_data_set_leaves_no_workdir(tmp_path):
    workdir = tmp_path / "run"
    fields = {"dataset": "no_such_data", "workdir": str(workdir)}
    with pytest.raises(TrainerError, match="neither a folder nor a TFDS name"):
        training.train(Config(**fields, weights="none"))
    assert not workdir.exists()


def test_a_workdir_that_was_there_is_left(tmp_path):
    fields = {"dataset": "no_such_data", "workdir": str(tmp_path)}
    with pytest.raises(TrainerError):
        training.train(Config(**fields, weights="none"))
    assert os.path.isdir(tmp_path)


def test_a_photo_that_vanishes_is_one_line(config, monkeypatch):
    def vanish(self):
        raise tf.errors.NotFoundError(
            None, None, "a/b.jpg; No such file or directory [[{{node x}}]]\nat"
        )

    monkeypatch.setattr(TrainingRun, "run", vanish)
    with pytest.raises(TrainerError) as error:
        training.train(config)
    assert str(error.value) == (
        "feature_extract: a/b.jpg; No such file or directory; put it right,"
        " and the same command goes on from the last checkpoint"
    )
    last = lines(pathlib.Path(config.workdir), "events.jsonl")[-1]
    assert last == {"event": "stop", "reason": "NotFoundError"}
