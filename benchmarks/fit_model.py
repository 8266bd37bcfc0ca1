"""The classifier of the reference experiment, as Keras users write it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.config.fields import BEST_RECIPE, IMAGENET
from trainer.errors import TrainerError, UsageError
from trainer.model import lite
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights


class Classifier(NamedTuple):
    """A classifier and its backbone."""

    model: keras.Model
    base: keras.Model


class InferenceBase(keras.layers.Layer):
    """A backbone without a `training` argument for `fit` to override."""

    def __init__(self, base: keras.Model) -> None:
        super().__init__(name="inference_base")
        self.base = base

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Returns feature maps (n, h, w, c) of images (n, height, width, 3)."""
        return self.base(images, training=False)


def application(backbone: str) -> ModuleType:
    """Returns the module of keras.applications that defines a backbone."""
    for module in vars(keras.applications).values():
        if isinstance(module, ModuleType) and hasattr(module, backbone):
            return module
    raise UsageError(f"--backbone={backbone!r}: not in keras.applications")


def constructor(
    backbone: str,
) -> tuple[Callable[..., keras.Model], Callable[[Any], Any]]:
    """Returns a backbone's constructor and its preprocessing function."""
    if backbone in lite.SCALES:
        return lite.constructor(backbone), lambda pixels: pixels
    module = application(backbone)
    return getattr(module, backbone), module.preprocess_input


def _load_published(base: keras.Model, name: str) -> None:
    """Loads the weights that the trainer uses for --weights=imagenet."""
    backbone = find_backbone(name)
    plan = plan_weights(IMAGENET, backbone=backbone, weights_origin=None)
    load_weights(base, plan, backbone=backbone, backbone_args={})


def build(args: argparse.Namespace, num_classes: int) -> Classifier:
    """Builds the classifier with a loaded, frozen backbone.

    Raises:
      TrainerError: the weights do not fit the backbone.
    """
    construct, preprocess = constructor(args.backbone)
    shape = (args.image_size, args.image_size, 3)
    kwargs = {"weights": None, "input_shape": shape, **args.backbone_args}
    base = construct(include_top=False, **kwargs)
    try:
        if str(args.weights) == IMAGENET:
            _load_published(base, args.backbone)
        else:
            base.load_weights(args.weights)
    except (OSError, ValueError) as error:
        # The message of Keras may contain whole arrays.
        reason = " ".join(str(error).split())[:160]
        raise TrainerError(
            f"--weights={str(args.weights)!r}: cannot be loaded ({reason});"
            f" give weights of {args.backbone} without its top"
        ) from error
    base.trainable = False
    inputs = keras.Input(shape)
    x = inputs
    if args.augment and args.recipe == BEST_RECIPE:
        # The mild augmentation: up to 15 degrees.
        x = keras.layers.RandomFlip("horizontal")(x)
        x = keras.layers.RandomRotation(15 / 360)(x)
        x = keras.layers.RandomZoom(0.2)(x)
        x = keras.layers.RandomTranslation(0.05, 0.05)(x)
    elif args.augment:
        x = keras.layers.RandomFlip("horizontal")(x)
        x = keras.layers.RandomRotation(0.2)(x)
        x = keras.layers.RandomZoom(0.2)(x)
        # Replaces RandomHeight(0.2) and RandomWidth(0.2).
        x = keras.layers.RandomZoom(0.2, width_factor=0.2)(x)
    x = preprocess(x)
    if args.inference_mode == "wrapped":
        x = InferenceBase(base)(x)
    else:
        x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(num_classes, activation="softmax")(x)
    return Classifier(keras.Model(inputs, outputs), base)


def moving_statistics(base: keras.Model) -> list[np.ndarray]:
    """Copies every BatchNorm's moving mean and moving variance."""
    return [
        np.array(variable.numpy())
        for layer in base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
