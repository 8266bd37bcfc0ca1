"""The names of Keras's weight files, compared with what Keras asks for."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any
from unittest import mock

import keras
import pytest
from keras.src.utils import file_utils

from trainer.model.backbones import backbone_names, find_backbone
from trainer.model.weights.keras_files import has_keras_file, keras_file

_ARGUMENTS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("MobileNet", {"alpha": 0.25}, 128),
    ("MobileNet", {"alpha": 0.5}, 96),
    ("MobileNetV2", {"alpha": 0.35}, 96),
    ("MobileNetV2", {"alpha": 1}, 300),
    ("MobileNetV2", {"alpha": 1.4}, 224),
    ("MobileNetV3Small", {"alpha": 0.75}, 96),
    ("MobileNetV3Large", {"minimalistic": True}, 224),
)


# Of each rule for names, the smallest backbone, because Keras builds it first.
_SMALLEST = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG19",
    "Xception",
)


class _AskedError(Exception):
    """Raised instead of a download."""


def file_of_keras(name: str, arguments: dict[str, Any], image_px: int) -> str:
    """Returns the name of the file that Keras would download."""

    def ask(fname: str, *_: Any, **__: Any) -> None:
        raise _AskedError(fname)

    with (
        mock.patch.object(file_utils, "get_file", ask),
        warnings.catch_warnings(action="ignore"),
        pytest.raises(_AskedError) as asked,
    ):
        getattr(keras.applications, name)(
            weights="imagenet",
            include_top=False,
            input_shape=(image_px, image_px, 3),
            **arguments,
        )
    return str(asked.value)


def check(name: str, arguments: dict[str, Any], image_px: int) -> None:
    path = keras_file(name, arguments, image_px)
    assert path is not None
    expected = file_of_keras(name, arguments, image_px)
    assert pathlib.Path(path).name == expected


@pytest.mark.parametrize("case", [_ARGUMENTS[2], ("VGG16", {}, 32)])
def test_file_is_the_one_that_keras_asks_for(case: Any) -> None:
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("name", _SMALLEST)
def test_file_of_each_rule_for_names(name: str) -> None:
    check(name, {}, find_backbone(name).image_px)


def test_each_backbone_of_keras_has_a_name() -> None:
    names = {n for n in backbone_names() if "Lite" not in n}
    assert all(keras_file(name, {}, 224) for name in names)
    assert names >= set(_SMALLEST)


@pytest.mark.slow
@pytest.mark.parametrize("case", _ARGUMENTS)
def test_file_of_a_backbone_with_arguments(case: Any) -> None:
    check(*case)


def test_folder_is_that_of_keras_home(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = pathlib.Path(str(keras_file("VGG16", {}, 224)))
    assert path.parent == tmp_path / "models"
    assert not has_keras_file("VGG16", {}, 224)
    path.parent.mkdir()
    path.write_bytes(b"weights")
    assert has_keras_file("VGG16", {}, 224)
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_file("VGG16", {}, 224) == str(
        tmp_path / ".keras/models" / path.name
    )


def test_a_backbone_without_such_a_file() -> None:
    assert keras_file("EfficientNetLite0", {}, 224) is None
