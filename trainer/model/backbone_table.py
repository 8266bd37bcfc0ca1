"""The table of backbones, without Keras, so that a name is checked at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from trainer.errors import UsageError

# How `pixels.preprocess` scales images, as keras.applications does. raw: the
# backbone rescales the pixels itself; tf: to [-1, 1]; torch: by ImageNet's mean
# and standard deviation; caffe: BGR minus ImageNet's mean.
RAW, TF, TORCH, CAFFE = "raw", "tf", "torch", "caffe"
# Width, depth, and default image size in px.
LITE_SCALES: Mapping[str, tuple[float, float, int]] = {
    "EfficientNetLite0": (1.0, 1.0, 224),
    "EfficientNetLite1": (1.0, 1.1, 240),
    "EfficientNetLite2": (1.1, 1.2, 260),
    "EfficientNetLite3": (1.2, 1.4, 280),
    "EfficientNetLite4": (1.4, 1.8, 300),
}

# Pixel contract, smallest image in px, and each member's default image in px.
_FAMILIES: tuple[tuple[str, int, dict[str, int]], ...] = (
    (
        RAW,
        32,
        {
            "ConvNeXtTiny": 224,
            "ConvNeXtSmall": 224,
            "ConvNeXtBase": 224,
            "ConvNeXtLarge": 224,
            "ConvNeXtXLarge": 224,
            "EfficientNetB0": 224,
            "EfficientNetB1": 240,
            "EfficientNetB2": 260,
            "EfficientNetB3": 300,
            "EfficientNetB4": 380,
            "EfficientNetB5": 456,
            "EfficientNetB6": 528,
            "EfficientNetB7": 600,
            "EfficientNetV2B0": 224,
            "EfficientNetV2B1": 240,
            "EfficientNetV2B2": 260,
            "EfficientNetV2B3": 300,
            "EfficientNetV2S": 384,
            "EfficientNetV2M": 480,
            "EfficientNetV2L": 480,
            "MobileNetV3Large": 224,
            "MobileNetV3Small": 224,
            **{name: px for name, (_, _, px) in LITE_SCALES.items()},
        },
    ),
    (
        TF,
        32,
        {
            "MobileNet": 224,
            "MobileNetV2": 224,
            "NASNetLarge": 331,
            "NASNetMobile": 224,
            "ResNet50V2": 224,
            "ResNet101V2": 224,
            "ResNet152V2": 224,
        },
    ),
    (TF, 71, {"Xception": 299}),
    (TF, 75, {"InceptionResNetV2": 299, "InceptionV3": 299}),
    (TORCH, 32, {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224}),
    (
        CAFFE,
        32,
        {
            "ResNet50": 224,
            "ResNet101": 224,
            "ResNet152": 224,
            "VGG16": 224,
            "VGG19": 224,
        },
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """The facts about a backbone that are known before it is built.

    Attributes:
      name: its name in `keras.applications`, or one of `LITE_SCALES`.
      pixels: how `preprocess` scales its pixels: "raw", "tf", "torch" or
        "caffe".
      image_px: side of its default image.
      min_image_px: side of the smallest image it accepts.
      has_imagenet_form: whether weights="imagenet" builds another
        architecture than weights=None (EfficientNetB0..B7).
    """

    name: str
    pixels: str
    image_px: int
    min_image_px: int
    has_imagenet_form: bool


BACKBONES = {
    name: Backbone(
        name=name,
        pixels=pixels,
        image_px=image_px,
        min_image_px=min_image_px,
        has_imagenet_form=name.startswith("EfficientNetB"),
    )
    for pixels, min_image_px, members in _FAMILIES
    for name, image_px in members.items()
}


def no_such_backbone(name: str, names: Sequence[str]) -> UsageError:
    """Returns the error of an unknown name, with similar and all legal ones.

    Args:
      name: the value of --backbone.
      names: the legal values.
    """
    by_lower = {legal.lower(): legal for legal in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    hint = " or ".join(by_lower[match] for match in near)
    return UsageError(
        f"--backbone={name!r}: no such backbone"
        + (f" (did you mean {hint}?)" if hint else "")
        + f"; legal: {', '.join(names)}"
    )
