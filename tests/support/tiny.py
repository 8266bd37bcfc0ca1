"""A backbone of three convolutions under the names of real ones."""

from __future__ import annotations

import keras
import pytest

# Ten layers, so that --unfreeze=last:10 is all of them.
_CHANNELS = (8, 16, 16)
NAMES = ("MobileNetV2", "EfficientNetB0")


def tiny_backbone(
    alpha: float = 1.0,
    weights: str | None = None,
    include_top: bool = False,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> keras.Model:
    """Three convolutions; `alpha` scales the channels, as in MobileNetV2."""
    assert weights is None
    assert not include_top
    inputs = x = keras.Input(input_shape, name="pixels")
    for number, channels in enumerate(_CHANNELS, 1):
        x = keras.layers.Conv2D(
            int(channels * alpha),
            3,
            strides=2,
            padding="same",
            use_bias=False,
            name=f"conv{number}",
        )(x)
        x = keras.layers.BatchNormalization(name=f"bn{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    return keras.Model(inputs, x, name="tiny")


def use_tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes --backbone=MobileNetV2 and EfficientNetB0 build the tiny one."""
    for name in NAMES:
        monkeypatch.setattr(keras.applications, name, tiny_backbone)
