"""EfficientNet-Lite0 to Lite4, which `keras.applications` does not have.

They are EfficientNets without squeeze-and-excite, with ReLU6, and with a stem
and a head of constant width. Sources: Tan and Le, 2019
(https://arxiv.org/abs/1905.11946), and
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Layer names follow `keras.applications.EfficientNetB0`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import keras

from trainer.model.backbone_table import LITE_SCALES as SCALES

_STEM_FILTERS, _HEAD_FILTERS = 32, 1280
_BATCH_NORM_EPSILON = 1e-3
# A pixel in 0..255 becomes (x - 127) / 128.
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0


class _Stage(NamedTuple):
    """A row of the paper's table 1, at width 1 and depth 1."""

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


def constructor(name: str) -> Callable[..., keras.Model]:
    """Returns a constructor with the signature of `keras.applications`.

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
        raise ValueError("only without weights and without top")
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
    """Rounds to the nearest multiple of 8, to at least 90 % of `filters`."""
    found = max(8, int(filters + 4) // 8 * 8)
    return found + 8 if found < 0.9 * filters else found


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    """Applies a convolution, BatchNorm and ReLU6."""
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
    """Applies an inverted residual block."""
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
