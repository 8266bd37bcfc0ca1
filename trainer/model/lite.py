"""EfficientNet-Lite0 to Lite4, which `keras.applications` does not have.

EfficientNet without squeeze-and-excite, with ReLU6, and with a stem and a head
that do not grow: Tan and Le, 2019 (https://arxiv.org/abs/1905.11946), and
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Layer names are in the style of `keras.applications.EfficientNetB0`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from trainer.model.weights.saved_weights import senseless

_STEM_FILTERS, _HEAD_FILTERS = 32, 1280
_BATCH_NORM_EPSILON = 1e-3
# A pixel in 0..255 becomes (x - 127) / 128.
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0


class _Stage(NamedTuple):
    """A row of the paper's table 1, at width and depth 1."""

    kernel: int
    repeats: int
    filters: int
    expand: int
    strides: int


_STAGES = (
    _Stage(3, 1, 16, 1, 1),
    _Stage(3, 2, 24, 6, 2),
    _Stage(5, 2, 40, 6, 2),
    _Stage(3, 3, 80, 6, 2),
    _Stage(5, 3, 112, 6, 1),
    _Stage(5, 4, 192, 6, 2),
    _Stage(3, 1, 320, 6, 1),
)
# Width, depth, and the model's own image size in px.
SCALES: Mapping[str, tuple[float, float, int]] = {
    "EfficientNetLite0": (1.0, 1.0, 224),
    "EfficientNetLite1": (1.0, 1.1, 240),
    "EfficientNetLite2": (1.1, 1.2, 260),
    "EfficientNetLite3": (1.2, 1.4, 280),
    "EfficientNetLite4": (1.4, 1.8, 300),
}


def constructor(name: str) -> Callable[..., keras.Model]:
    """Returns a function with the signature that `keras.applications` has.

    Args:
      name: one of `SCALES`.
    """
    return functools.partial(_build, name)


def _build(
    model_name: str,
    *,
    weights: None = None,
    include_top: bool = False,
    input_shape: tuple[int, int, int],
) -> keras.Model:
    """Builds a backbone with random weights, without top and pooling.

    Its input is float32 (n, px, px, 3) in 0..255.
    """
    if weights is not None or include_top:
        raise ValueError("only without weights and top")
    width, depth, _ = SCALES[model_name]
    inputs = keras.Input(input_shape)
    x = keras.layers.Rescaling(
        1 / _PIXEL_SCALE, offset=-_PIXEL_MEAN / _PIXEL_SCALE, name="rescaling"
    )(inputs)
    x = _conv(x, _STEM_FILTERS, 3, "stem", strides=2)
    for number, stage in enumerate(_STAGES, 1):
        ends = number in (1, len(_STAGES))
        repeats = stage.repeats if ends else math.ceil(depth * stage.repeats)
        filters = _rounded(width * stage.filters)
        for index in range(repeats):
            x = _block(
                x,
                stage,
                filters,
                strides=stage.strides if index == 0 else 1,
                name=f"block{number}{chr(ord('a') + index)}_",
            )
    x = _conv(x, _HEAD_FILTERS, 1, "top")
    return keras.Model(inputs, x, name=model_name.lower())


def _rounded(filters: float) -> int:
    """Rounds to a multiple of 8 that is at least 90 % of the number."""
    found = max(8, int(filters + 4) // 8 * 8)
    return found + 8 if found < 0.9 * filters else found


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    """Adds a convolution, BatchNorm and ReLU6."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    x = _batch_norm(f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(x)


def _batch_norm(name: str) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(
        epsilon=_BATCH_NORM_EPSILON, name=name
    )


def _block(
    inputs: keras.KerasTensor,
    stage: _Stage,
    filters: int,
    *,
    strides: int,
    name: str,
) -> keras.KerasTensor:
    """An inverted residual block."""
    x = inputs
    channels = inputs.shape[-1]
    if stage.expand != 1:
        x = _conv(x, channels * stage.expand, 1, f"{name}expand")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        name=f"{name}dwconv",
    )(x)
    x = _batch_norm(f"{name}bn")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}activation")(x)
    x = keras.layers.Conv2D(
        filters, 1, padding="same", use_bias=False, name=f"{name}project_conv"
    )(x)
    x = _batch_norm(f"{name}project_bn")(x)
    if strides == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}add")([x, inputs])
    return x


# Of a layer: its part's name in the published file, and its own name's end.
_BLOCK_PARTS = (
    ("_expand_conv", "expand_conv"),
    ("_bn0", "expand_bn"),
    ("_depthwise_conv", "dwconv"),
    ("_bn1", "bn"),
    ("_project_conv", "project_conv"),
    ("_bn2", "project_bn"),
)
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


def published_values(
    model: keras.Model, tensors: Mapping[str, np.ndarray]
) -> list[tuple[keras.Variable, np.ndarray]]:
    """Pairs a backbone's variables with the tensors of the published file.

    Args:
      model: an EfficientNetLite backbone.
      tensors: by the names of the file.

    Raises:
      ValueError: one is missing, has another shape than its variable, or
        holds what no weight can be.
    """
    names = dict(_ENDS)
    blocks: list[str] = []
    for layer in model.layers:
        prefix, _, part = layer.name.partition("_")
        if prefix.startswith("block") and prefix not in blocks:
            blocks.append(prefix)
    for number, block in enumerate(blocks):
        for theirs, ours in _BLOCK_PARTS:
            names[f"_blocks.{number}.{theirs}"] = f"{block}_{ours}"
    theirs_of = {ours: theirs for theirs, ours in names.items()}
    found = []
    for layer in model.layers:
        for variable in layer.weights:
            value = tensors.get(
                f"{theirs_of.get(layer.name)}."
                f"{_BATCH_NORM.get(variable.name, 'weight')}"
            )
            if value is None:
                raise ValueError(f"no tensor for {layer.name}")
            if variable.name == "kernel" and value.ndim == 4:
                # Of a depthwise kernel (channels, 1, h, w), of others
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
