"""Architectures: image sizes, the imagenet form, and JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model import architectures
from trainer.model.architectures import (
    architecture_json,
    model_from_architecture,
)
from trainer.model.backbones import (
    FORM_IMAGENET,
    FORM_KERAS_NONE,
    build_backbone,
    find_backbone,
)

# Small members of families, at their smallest images. The other families have
# only classes of layers that these have.
NAMES = (
    "MobileNetV2",
    "ConvNeXtTiny",
    "EfficientNetB0",
    "InceptionResNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "Xception",
)


def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `weights="imagenet"` build, with random weights."""
    module = sys.modules[keras.applications.EfficientNetB0.__module__]
    monkeypatch.setattr(
        module.file_utils, "get_file", lambda *_, **__: "unused.h5"
    )
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_, **__: None)


@pytest.mark.slow
def test_imagenet_form_is_what_keras_builds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, layers = "EfficientNetB0", 238
    keras.utils.clear_session()
    ours = build_backbone(name, {}, 32, form=FORM_IMAGENET)
    keras.utils.clear_session()
    plain = build_backbone(name, {}, 32, form=FORM_KERAS_NONE)
    without_download(monkeypatch)
    keras.utils.clear_session()
    theirs = getattr(keras.applications, name)(
        weights="imagenet", include_top=False, input_shape=(32, 32, 3)
    )
    assert len(ours.layers) == len(theirs.layers) == layers
    assert len(plain.layers) == layers - 1
    assert ours.get_config() == theirs.get_config()
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    # The same weights give the same features; in the other form they do not.
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3))
    theirs.set_weights(ours.get_weights())
    plain.set_weights(ours.get_weights())
    stems = [
        keras.Model(m.inputs[0], m.get_layer("stem_conv").output)(images)
        for m in (ours, theirs, plain)
    ]
    np.testing.assert_array_equal(stems[0], stems[1])
    assert np.abs(stems[0] - stems[2]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_smallest_size_builds_and_rebuilds_from_json(name: str) -> None:
    backbone = find_backbone(name)
    form = FORM_IMAGENET if backbone.has_imagenet_form else "n/a"
    px = backbone.min_image_px
    keras.utils.clear_session()
    model = build_backbone(name, {}, px, form=form)
    assert model.input_shape == (None, px, px, 3)
    assert len(model.output_shape) == 4
    assert min(model.output_shape[1:]) >= 1
    keras.utils.clear_session()
    again = model_from_architecture(architecture_json(model))
    assert architecture_json(again) == architecture_json(model)
    assert [layer.name for layer in again.layers] == [
        layer.name for layer in model.layers
    ]
    again.set_weights(model.get_weights())
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, px, px, 3))
    np.testing.assert_array_equal(again(pixels), model(pixels))


def test_json_with_python_code_is_rejected() -> None:
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]
    )
    with pytest.raises(ValueError, match=r"[Ll]ambda"):
        model_from_architecture(architecture_json(model))


def small_architecture() -> dict[str, Any]:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    return json.loads(architecture_json(keras.Model(inputs, x)))


def layer(name: str, module: str = "keras.layers", **config: Any) -> Any:
    values = {"module": module, "class_name": name, "config": config}
    return {**values, "registered_name": None}


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (layer("Lambda", function="x"), "keras.layers.Lambda is not among"),
        (layer("TFSMLayer", filepath="x"), "TFSMLayer is not among"),
        (layer("TorchModuleWrapper"), "TorchModuleWrapper is not among"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "StringLookup is no"),
        (layer("system", "os"), "os.system is not among"),
        (layer("get_file", "keras.utils"), "keras.utils.get_file is not"),
        (layer("load_model", "keras.models"), "load_model is not among"),
        (layer("function", "builtins"), "builtins.function is not among"),
        ({"class_name": "__lambda__", "config": 1}, "__lambda__ is not among"),
        ({"class_name": "Conv2D", "config": {}}, "None.Conv2D is not among"),
        ({"module": "keras.layers"}, "keras.layers.None is not among"),
        ({**layer("Conv2D"), "registered_name": "a>b"}, "a>b is not among"),
        ({**layer("Conv2D"), "module": ["keras"]}, "Conv2D is not among"),
        (nested(200), "more than 100 levels deep"),
    ],
)
def test_json_with_other_classes_is_rejected(change: Any, message: str) -> None:
    architecture = small_architecture()
    architecture["config"]["layers"][1]["config"]["activation"] = change
    with pytest.raises(ValueError, match=message):
        model_from_architecture(json.dumps(architecture))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"filters": 10**10}, "parameters, or than 134,217,728 in one"),
        (
            {"kernel_size": [10**5, 10**5], "padding": "same"},
            "parameters, or than 134,217,728 in one",
        ),
        (
            {"filters": 10**7, "kernel_size": [1, 1]},
            "conv computes 640,000,000 numbers for an image, more than",
        ),
    ],
    ids=["filters", "kernel", "outputs"],
)
def test_json_of_a_huge_model_is_rejected(
    config: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "_MAX_OUTPUTS", 10**8)
    architecture = small_architecture()
    architecture["config"]["layers"][1]["config"].update(config)
    with pytest.raises(ValueError, match=message):
        model_from_architecture(json.dumps(architecture))


def test_a_long_architecture_is_rejected() -> None:
    with pytest.raises(ValueError, match="more than 16,777,216"):
        model_from_architecture(" " * (16 << 20) + "{}")


def test_shapes_are_found_for_every_initial_value() -> None:
    """A closure of Keras, any other function, and a value."""
    kernel = keras.Variable(np.zeros((2, 3)))
    assert architectures._shape_of(lambda: kernel.value) == (2, 3)
    assert architectures._shape_of(lambda: tf.zeros((4, 5))) == (4, 5)
    assert architectures._shape_of(np.zeros(6)) == (6,)
