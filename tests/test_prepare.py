"""A new run and a resumed one build the same classifier, names and all."""

from __future__ import annotations

import pytest

from trainer.config import Config
from trainer.model.architectures import architecture_json
from trainer.model.backbones import find_backbone
from trainer.prepare import new_classifier, prepare, stored_classifier
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
