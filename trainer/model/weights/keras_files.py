"""The ImageNet weights in Keras's cache folder, by the names of their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainer.storage import files

# Each file holds one backbone without its top.
_TF_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_NAMES: Mapping[str, str] = {
    **{f"EfficientNetB{n}": f"efficientnetb{n}_notop.h5" for n in range(8)},
    **{
        f"EfficientNetV2{size}": f"efficientnetv2-{size.lower()}_notop.h5"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{
        f"ConvNeXt{size}": f"convnext_{size.lower()}_notop.h5"
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
    "NASNetMobile": "nasnet_mobile_no_top.h5",
    "NASNetLarge": "nasnet_large_no_top.h5",
    **{
        name: _TF_KERNELS.format(name.lower())
        for name in (
            *("DenseNet121", "DenseNet169", "DenseNet201"),
            *("ResNet50", "ResNet101", "ResNet152"),
            *("ResNet50V2", "ResNet101V2", "ResNet152V2"),
            *("VGG16", "VGG19", "Xception"),
        )
    },
    "InceptionV3": _TF_KERNELS.format("inception_v3"),
    "InceptionResNetV2": _TF_KERNELS.format("inception_resnet_v2"),
}
# The sizes for which weights exist; for any other size, the last one's.
_MOBILE_PX = {
    "MobileNet": (128, 160, 192, 224),
    "MobileNetV2": (96, 128, 160, 192, 224),
}
_MOBILE_ALPHAS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0"}


def keras_file(
    backbone: str, backbone_args: Mapping[str, Any], image_px: int
) -> str | None:
    """Returns the path at which Keras keeps a backbone's ImageNet weights.

    Args:
      backbone: a name in `keras.applications`.
      backbone_args: arguments of its constructor.
      image_px: side of the images; MobileNet has weights for several sizes.

    Returns:
      The path, whether the file exists or not; None for a backbone that this
      table lacks.
    """
    name = _file_name(backbone, backbone_args, image_px)
    if name is None:
        return None
    return os.path.join(_keras_home(), "models", name)


def has_keras_file(
    backbone: str, backbone_args: Mapping[str, Any], image_px: int
) -> bool:
    """Returns whether the file exists; see `keras_file`."""
    path = keras_file(backbone, backbone_args, image_px)
    return path is not None and files.is_file(path)


def _keras_home() -> str:
    """Returns the folder that Keras chooses at its import."""
    if "KERAS_HOME" in os.environ:
        return os.environ["KERAS_HOME"]
    base = os.path.expanduser("~")
    return os.path.join(base if os.access(base, os.W_OK) else "/tmp", ".keras")


def _file_name(
    backbone: str, backbone_args: Mapping[str, Any], image_px: int
) -> str | None:
    alpha = backbone_args.get("alpha", 1.0)
    sizes = _MOBILE_PX.get(backbone, ())
    px = image_px if image_px in sizes else 224
    if backbone == "MobileNet":
        return f"mobilenet_{_MOBILE_ALPHAS.get(alpha, '2_5')}_{px}_tf_no_top.h5"
    if backbone == "MobileNetV2":
        kernels = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
        return f"{kernels}_{alpha * 1.0}_{px}_no_top.h5"
    if backbone.startswith("MobileNetV3"):
        size = backbone.removeprefix("MobileNetV3").lower()
        if backbone_args.get("minimalistic"):
            size += "_minimalistic"
        return f"weights_mobilenet_v3_{size}_224_{alpha}_float_no_top_v2.h5"
    return _NAMES.get(backbone)
