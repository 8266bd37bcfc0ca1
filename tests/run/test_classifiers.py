"""The classifier of a new run and of a resumed one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model.architectures import architecture_json
from trainer.model.backbones import build_backbone, find_backbone
from trainer.model.weights.forms import form_of_architecture
from trainer.run import classifiers
from trainer.run.classifiers import new_classifier, stored_classifier
from trainer.run.prepare import prepare
from trainer.workdir import BACKBONE, Workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"),
    # Rescaling within the model; layers of Keras' own.
    [("EfficientNetB0", "imagenet"), ("ConvNeXtTiny", "none")],
)
def test_a_resumed_run_has_the_same_variable_names(name, weights, tmp_path):
    backbone = find_backbone(name)
    setup = prepare(
        Config(
            # Other tests build another network under the same name.
            cache="off",
            dataset="demo",
            workdir=str(tmp_path),
            backbone=name,
            weights=weights,
            image_size=backbone.min_image_px,
        )
    )
    fresh = new_classifier(setup, 3, load=False)
    workdir = Workdir(str(tmp_path))
    workdir.write_json(
        BACKBONE,
        {
            "pixels": fresh.pixels,
            "architecture": architecture_json(fresh.backbone),
        },
    )
    again = stored_classifier(workdir, setup.config, setup.runtime.strategy, 3)
    assert list(again.variables) == list(fresh.variables)
    assert [v.shape for v in again.variables.values()] == [
        v.shape for v in fresh.variables.values()
    ]


@pytest.mark.slow
def test_a_cached_architecture_is_not_built_again(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)

    def make(**fields):
        setup = prepare(
            Config(
                dataset="demo",
                workdir=str(tmp_path),
                backbone="MobileNetV2",
                weights="none",
                image_size=32,
                cache_dir=str(tmp_path / "cache"),
                **fields,
            )
        )
        return new_classifier(setup, 3, load=False)

    first = make()
    built = []
    monkeypatch.setattr(
        classifiers,
        "build_backbone",
        lambda *args, **kwargs: built.append(args) or first.backbone,
    )
    again = make()
    assert built == []
    assert again.backbone.to_json() == first.backbone.to_json()
    assert list(again.variables) == list(first.variables)
    for one, two in zip(
        first.variables.values(), again.variables.values(), strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    for other in (
        {"backbone_args": "alpha=0.5"},
        {"precision": "bfloat16"},
        {"cache": "off"},
    ):
        built.clear()
        make(**other)
        assert len(built) == 1


GOOD = json.loads(architecture_json(tiny_backbone()))


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({}, "architecture is missing"),
        ([], "holds a list, not an object"),
        ({"pixels": "raw"}, "architecture is missing"),
        ({"architecture": "{}"}, "its pixels are None"),
        ({"architecture": {}, "pixels": "raw"}, "architecture is a dict"),
        ({"architecture": "{}", "pixels": []}, "pixels is a list"),
        ({"architecture": "{}", "pixels": "raw"}, "a dict, not a model"),
        ({"architecture": "{", "pixels": "raw"}, "Expecting property name"),
        (
            {"architecture": json.dumps(GOOD)[:-100], "pixels": "raw"},
            "Expecting",
        ),
        (
            {
                "architecture": json.dumps({**GOOD, "class_name": "Lambda"}),
                "pixels": "raw",
            },
            "is not among the layers of known backbones",
        ),
    ],
)
def test_a_damaged_architecture_is_one_line(stored, reason, tmp_path):
    workdir = Workdir(str(tmp_path))
    workdir.write_json(BACKBONE, stored)
    config = Config(precision="float32")
    with pytest.raises(TrainerError) as error:
        stored_classifier(workdir, config, tf.distribute.get_strategy(), 3)
    text = str(error.value)
    start = f"{tmp_path}/backbone.json: cannot be read ("
    assert text.startswith(start)
    assert reason in text
    assert text.endswith("); restore it, or use another --workdir")
    assert text.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["imagenet", "keras_none"])
def test_a_warm_start_keeps_the_form_of_its_source(form, tmp_path):
    backbone = build_backbone("EfficientNetB0", {}, 32, form=form)
    text = architecture_json(backbone)
    assert form_of_architecture(text) == form
    Workdir(str(tmp_path)).write_json(BACKBONE, {"architecture": text})
    # Whatever form --weights would mean.
    setup = prepare(
        Config(
            backbone="EfficientNetB0",
            weights="none",
            image_size=32,
            init_from=str(tmp_path),
            workdir="w",
        )
    )
    assert setup.weights.form == "keras_none"
    assert classifiers._in_form_of_source(setup).weights.form == form


def test_an_architecture_of_another_family_has_no_form():
    backbone = build_backbone("VGG16", {}, 32, form="n/a")
    with pytest.raises(ValueError, match="not an EfficientNet"):
        form_of_architecture(architecture_json(backbone))
