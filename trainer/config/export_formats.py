"""The values of --export_formats and --quantize."""

from __future__ import annotations

from trainer.config.fields import (
    EXPORT,
    INT8,
    KERAS_FORMAT,
    NONE,
    ONNX,
    SAVED_MODEL,
    TFLITE,
    Fields,
)
from trainer.errors import UsageError

FORMATS = (SAVED_MODEL, KERAS_FORMAT, TFLITE, ONNX)
# Beginnings of the names of backbones that a format does not have, and why.
# tf2onnx 1.17: https://github.com/onnx/tensorflow-onnx
_UNSUPPORTED = {
    ONNX: {
        "ConvNeXt": "tf2onnx cannot convert its Erfc and depthwise convolutions"
    }
}


def parse_formats(text: str) -> tuple[str, ...]:
    """Returns the formats of `--export_formats`, in the order of `FORMATS`.

    Raises:
      UsageError: a name is unknown, empty or given twice.
    """
    names = text.split(",")
    legal = f"give one or more of {','.join(FORMATS)}"
    for name in names:
        if name not in FORMATS:
            raise UsageError(
                f"--export_formats={text[:80]!r}: {name[:40]!r} is not a"
                f" format; {legal}"
            )
        if names.count(name) > 1:
            raise UsageError(
                f"--export_formats={text[:80]!r}: {name!r} is given twice;"
                " name each format once"
            )
    return tuple(name for name in FORMATS if name in names)


def check_export(fields: Fields) -> None:
    """Checks the formats, and that one of them can be quantized if asked.

    Raises:
      UsageError: a value is illegal, or a flag would have no effect.
    """
    formats = parse_formats(fields.export_formats)
    if fields.stage != EXPORT:
        return
    if fields.quantize != NONE and TFLITE not in formats:
        raise UsageError(
            f"--quantize={fields.quantize}: read only for {TFLITE}, but"
            f" --export_formats={','.join(formats)}; add {TFLITE} there, or"
            " leave --quantize out"
        )
    if fields.force and fields.quantize == NONE:
        raise UsageError(
            "--force: keeps a quantized model that is much less accurate, but"
            f" --quantize={NONE}; give --quantize={INT8} too, or leave --force"
            " out"
        )


def check_backbone(formats: tuple[str, ...], backbone: str) -> None:
    """Checks that a backbone can be converted to the formats.

    Raises:
      UsageError: it is known that one cannot be.
    """
    for name in formats:
        for family, reason in _UNSUPPORTED.get(name, {}).items():
            if backbone.startswith(family):
                rest = [f for f in FORMATS if f != name]
                raise UsageError(
                    f"--export_formats={','.join(formats)}: {name} does not"
                    f" work with {backbone}, because {reason}; give others,"
                    f" such as {','.join(rest)}"
                )
