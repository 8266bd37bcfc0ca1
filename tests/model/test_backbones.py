"""Backbones: registry, pixel contract, sizes, arguments."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UsageError
from trainer.model import backbones, lite
from trainer.model import pixels as pixels_module

NAMES = backbones.backbone_names()
OF_KERAS = tuple(name for name in NAMES if name not in lite.SCALES)


def module_of(name: str) -> ModuleType:
    return sys.modules[getattr(keras.applications, name).__module__]


def test_every_classifier_of_keras_is_registered() -> None:
    constructors = {
        name
        for name in dir(keras.applications)
        if not name.startswith("_")
        and callable(getattr(keras.applications, name))
    }
    assert set(OF_KERAS) == constructors
    assert set(NAMES) == constructors | lite.SCALES.keys()


def test_a_backbone_missing_from_keras_is_not_legal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(keras.applications, "VGG19")
    assert "VGG19" not in backbones.backbone_names()
    with pytest.raises(UsageError, match="no such backbone"):
        backbones.find_backbone("VGG19")


@pytest.mark.parametrize("name", OF_KERAS)
def test_sizes_are_those_of_keras(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbones.find_backbone(name)
    seen: dict[str, Any] = {}

    def stop(*_: Any, **given: Any) -> None:
        seen.update(given)
        raise InterruptedError

    module = module_of(name)
    if "mobilenet_v3" in module.__name__:
        # This family checks sizes itself; its documentation says 224.
        assert (backbone.image_px, backbone.min_image_px) == (224, 32)
        return
    monkeypatch.setattr(module.imagenet_utils, "obtain_input_shape", stop)
    with pytest.raises(InterruptedError):
        getattr(keras.applications, name)(weights=None)
    assert seen["default_size"] == backbone.image_px
    assert seen["min_size"] == backbone.min_image_px


@pytest.mark.parametrize("name", OF_KERAS)
def test_keras_rejects_one_pixel_less(name: str) -> None:
    px = backbones.find_backbone(name).min_image_px - 1
    with pytest.raises(ValueError, match="at least"):
        getattr(keras.applications, name)(
            weights=None, include_top=False, input_shape=(px, px, 3)
        )
    with pytest.raises(
        UsageError,
        match=rf"--image_size={px}: too small for {name}, .* at least {px + 1}",
    ):
        backbones.check_backbone(name, {}, px)


@pytest.mark.parametrize("name", OF_KERAS)
def test_preprocess_is_that_of_keras(name: str) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3))
    images = images.astype(np.float32)
    images[0, 0] = [[0, 0, 0], [255, 255, 255], [255, 0, 127], [1, 2, 3]]
    expected = module_of(name).preprocess_input(images.copy())
    pixels = backbones.find_backbone(name).pixels
    actual = pixels_module.preprocess(tf.constant(images), pixels)
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ("raw", [255.0, 0.0, 51.0]),
        ("tf", [1.0, -1.0, -0.6]),
        # (1 - .485) / .229, (0 - .456) / .224, (.2 - .406) / .225
        ("torch", [2.248908, -2.035714, -0.915556]),
        # blue, green, red: 51 - 103.939, 0 - 116.779, 255 - 123.68
        ("caffe", [-52.939, -116.779, 131.32]),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_preprocess_by_hand(
    pixels: str, expected: list[float], jit_compile: bool
) -> None:
    run = tf.function(pixels_module.preprocess, jit_compile=jit_compile)
    actual = run(tf.constant([[255.0, 0.0, 51.0]]), pixels)
    np.testing.assert_allclose(actual, [expected], rtol=1e-5)


def test_preprocess_rejects_an_unknown_contract() -> None:
    with pytest.raises(ValueError, match="pixels='bgr'"):
        pixels_module.preprocess(tf.zeros((1, 3)), "bgr")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MobilNetV2", r"\(did you mean MobileNetV2 or MobileNet"),
        ("efficientnetb0", r"\(did you mean EfficientNetB0 or"),
        ("xyz", r"no such backbone; legal: ConvNeXtBase, "),
    ],
    ids=["typo", "case", "nothing-near"],
)
def test_unknown_backbone(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint) as caught:
        backbones.find_backbone(name)
    message = str(caught.value)
    assert message.startswith(f"--backbone='{name}': no such backbone")
    assert message.endswith("VGG16, VGG19, Xception")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("alpha=0.35", {"alpha": 0.35}),
        (
            "alpha=0.5, minimalistic=True",
            {"alpha": 0.5, "minimalistic": True},
        ),
        ("a='x,y',b=(1,2),c=-1", {"a": "x,y", "b": (1, 2), "c": -1}),
    ],
    ids=["empty", "one", "two", "commas"],
)
def test_parse_backbone_args(text: str, expected: dict[str, Any]) -> None:
    assert backbones.parse_backbone_args(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0.35",
        "alpha",
        "alpha=",
        "alpha=relu",
        "alpha=1,alpha=2",
        "alpha=__import__('os')",
        "**{'alpha':1}",
        "a=1)(b=2",
        "a=1)+g(b=2",
        "a b=1",
    ],
)
def test_parse_backbone_args_rejects(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        backbones.parse_backbone_args(text)
    message = str(caught.value)
    assert message.startswith(f"--backbone_args={text!r}: not of the form")
    assert "alpha=0.35" in message


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        (
            "MobileNetV2",
            {"alfa": 1},
            "--backbone_args=alfa=1: alfa is not an argument of MobileNetV2;"
            " legal for MobileNetV2: alpha",
        ),
        (
            "MobileNetV2",
            {"pooling": "avg"},
            "--backbone_args=pooling='avg': pooling is set by the trainer"
            " itself; legal for MobileNetV2: alpha",
        ),
        (
            "MobileNetV3Small",
            {"include_preprocessing": False},
            "--backbone_args=include_preprocessing=False:"
            " include_preprocessing is set by the trainer itself; legal for"
            " MobileNetV3Small: alpha, minimalistic, dropout_rate",
        ),
        (
            "ResNet50",
            {"alpha": 1},
            "--backbone_args=alpha=1: alpha is not an argument of ResNet50;"
            " ResNet50 takes no arguments: leave the flag out",
        ),
    ],
    ids=["unknown", "own", "pixels", "none-legal"],
)
def test_check_backbone_rejects(
    name: str, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        backbones.check_backbone(name, args, 224)
    assert str(caught.value) == message


def test_a_rejected_constructor_value_gives_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        backbones.build_backbone(
            "MobileNetV2", {"alpha": "wide"}, 32, form=backbones.FORM_NA
        )
    message = str(caught.value)
    assert message.startswith(
        "--backbone_args=alpha='wide': MobileNetV2 cannot be built with"
        " --image_size=32 ("
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "form"),
    [("MobileNetV2", "imagenet"), ("EfficientNetB0", "n/a")],
)
def test_a_form_of_another_backbone_is_rejected(name: str, form: str) -> None:
    with pytest.raises(ValueError, match="is not a form of"):
        backbones.build_backbone(name, {}, 32, form=form)
