"""Pixel contracts: how pixels in 0..255 are scaled for a backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.model.backbone_table import CAFFE, RAW, TF, TORCH

_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(images: tf.Tensor, pixels: str) -> tf.Tensor:
    """Scales images as `preprocess_input` of keras.applications does.

    Args:
      images: float32 (..., 3), RGB in 0..255.
      pixels: a pixel contract; see `Backbone.pixels`.

    Returns:
      float32 of the same shape.

    Raises:
      ValueError: there is no such contract.
    """
    if pixels == RAW:
        return images
    if pixels == TF:
        return images / 127.5 - 1.0
    if pixels == TORCH:
        mean = tf.constant(_TORCH_MEAN, images.dtype)
        return (images / 255.0 - mean) / tf.constant(_TORCH_STD, images.dtype)
    if pixels == CAFFE:
        mean = tf.constant(_CAFFE_MEAN_BGR, images.dtype)
        return tf.reverse(images, axis=[-1]) - mean
    raise ValueError(f"pixels={pixels!r}: not raw, tf, torch or caffe")


def preprocessing_layers(pixels: str) -> list[Callable[[Any], Any]]:
    """Returns `preprocess` as a list of Keras operations to call in order."""
    if pixels == TF:
        return [keras.layers.Rescaling(1 / 127.5, offset=-1.0)]
    if pixels == TORCH:
        pairs = list(zip(_TORCH_MEAN, _TORCH_STD, strict=True))
        return [
            keras.layers.Rescaling(
                [1 / (255 * std) for _, std in pairs],
                offset=[-mean / std for mean, std in pairs],
            )
        ]
    if pixels == CAFFE:
        offset = [-mean for mean in _CAFFE_MEAN_BGR]
        return [
            lambda images: keras.ops.flip(images, axis=-1),
            keras.layers.Rescaling([1.0] * 3, offset=offset),
        ]
    return []
