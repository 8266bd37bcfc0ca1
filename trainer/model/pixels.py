"""Pixel contracts: what a backbone takes, made of images in 0..255."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# What each contract is, in the words of keras.applications: raw pixels,
# which the backbone rescales itself; [-1, 1]; ImageNet mean and standard
# deviation; BGR minus the ImageNet mean.
RAW, TF, TORCH, CAFFE = "raw", "tf", "torch", "caffe"
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(images: tf.Tensor, pixels: str) -> tf.Tensor:
    """What a backbone takes, made of plain pixels; as Keras makes it.

    Args:
      images: float32 (..., 3), RGB in 0..255.
      pixels: a `Backbone.pixels`.

    Returns:
      float32 of the same shape.
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
    """`preprocess` as Keras operations, to be called one after the other."""
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
