"""A new run and a resumed one build the same classifier, names and all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.support.tiny import tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model.architectures import architecture_json
from trainer.model.backbones import find_backbone
from trainer.run import prepare as prepare_module
from trainer.run.prepare import new_classifier, prepare, stored_classifier
from trainer.workdir import BACKBONE, Workdir

SMALL = (
    "ConvNeXtTiny",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"),
    [*((name, "none") for name in SMALL), ("EfficientNetB0", "imagenet")],
)
def test_variables_have_the_same_names_in_a_resumed_run(
    name, weights, tmp_path
):
    backbone = find_backbone(name)
    request = prepare(
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
    fresh = new_classifier(request, 3, load=False)
    workdir = Workdir(str(tmp_path))
    workdir.write_json(
        BACKBONE,
        {
            "pixels": fresh.pixels,
            "architecture": architecture_json(fresh.backbone),
        },
    )
    again = stored_classifier(workdir, request.config, request.strategy, 3)
    assert list(again.variables) == list(fresh.variables)
    assert [v.shape for v in again.variables.values()] == [
        v.shape for v in fresh.variables.values()
    ]
    again = new_classifier(request, 3, load=False)
    assert list(again.variables) == list(fresh.variables)


def test_an_architecture_that_is_kept_is_not_built_again(tmp_path, monkeypatch):
    """And the classifier is the same to the last bit."""

    def make(**fields):
        request = prepare(
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
        return new_classifier(request, 3, load=False)

    first = make()
    built = []
    monkeypatch.setattr(
        prepare_module,
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
