"""--export_formats, --quantize and --force: legal values and refused ones."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config import Config
from trainer.config.export_formats import check_backbone, parse_formats
from trainer.config.fields import FIELDS
from trainer.errors import UsageError

ALL = ("saved_model", "keras", "tflite", "onnx")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("tflite", ("tflite",), id="one"),
        pytest.param("onnx,keras", ("keras", "onnx"), id="in one order"),
        pytest.param("saved_model,keras,tflite,onnx", ALL, id="all"),
        pytest.param(
            FIELDS["export_formats"].default, ALL[:2], id="the default"
        ),
    ],
)
def test_formats_are_in_one_order(text: str, names: tuple[str, ...]) -> None:
    assert parse_formats(text) == names


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            {"export_formats": "saved_model,tf"},
            "--export_formats='saved_model,tf': 'tf' is not a format; give one"
            " or more of saved_model,keras,tflite,onnx",
            id="unknown",
        ),
        pytest.param(
            {"export_formats": ""},
            "--export_formats='': '' is not a format; give one or more of"
            " saved_model,keras,tflite,onnx",
            id="empty",
        ),
        pytest.param(
            {"export_formats": "keras, tflite"},
            "--export_formats='keras, tflite': ' tflite' is not a format; give"
            " one or more of saved_model,keras,tflite,onnx",
            id="space",
        ),
        pytest.param(
            {"export_formats": "onnx,keras,onnx"},
            "--export_formats='onnx,keras,onnx': 'onnx' is given twice; name"
            " each format once",
            id="twice",
        ),
        pytest.param(
            {"quantize": "int8"},
            "--quantize=int8: read only for tflite, but --export_formats="
            "saved_model,keras; add tflite there, or leave --quantize out",
            id="int8 without tflite",
        ),
        pytest.param(
            {"quantize": "float16", "export_formats": "onnx"},
            "--quantize=float16: read only for tflite, but --export_formats="
            "onnx; add tflite there, or leave --quantize out",
            id="float16 of onnx",
        ),
        pytest.param(
            {"quantize": "int4", "export_formats": "tflite"},
            "--quantize='int4': not one of none, int8, float16; did you mean"
            " int8?",
            id="no such number format",
        ),
        pytest.param(
            {"force": True, "export_formats": "tflite"},
            "--force: keeps a quantized model that is much less accurate, but"
            " --quantize=none; give --quantize=int8 too, or leave --force out",
            id="force without quantize",
        ),
    ],
)
def test_bad_flags_are_one_line(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Config(stage="export", workdir="x", **flags)
    assert str(error.value) == said


@pytest.mark.parametrize("formats", [ALL, ("onnx",)])
def test_a_backbone_that_tf2onnx_cannot_convert_is_named(
    formats: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError) as error:
        check_backbone(formats, "ConvNeXtTiny")
    assert str(error.value) == (
        f"--export_formats={','.join(formats)}: onnx does not work with"
        " ConvNeXtTiny, because tf2onnx cannot convert its Erfc and depthwise"
        " convolutions; give others, such as saved_model,keras,tflite"
    )


@pytest.mark.parametrize(
    ("formats", "backbone"), [(ALL[:3], "ConvNeXtTiny"), (ALL, "MobileNetV2")]
)
def test_other_formats_and_backbones_are_not_refused(
    formats: tuple[str, ...], backbone: str
) -> None:
    check_backbone(formats, backbone)
