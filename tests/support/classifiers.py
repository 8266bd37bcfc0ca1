"""Small classifiers whose features are alive, for tests of the step."""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications import efficientnet

from tools.xla_step import calibrate
from trainer.distribute import devices
from trainer.model import lite
from trainer.model.classifier import Classifier, make_classifier

SPECS = {
    # Each kind of block, with and without a residual.
    "EfficientNet of 10 blocks": (
        functools.partial(efficientnet.EfficientNet, 1.0, 0.4, 32),
        {"name": "efficientnet"},
        "raw",
    ),
    "EfficientNetB0": (keras.applications.EfficientNetB0, {}, "raw"),
    "MobileNetV2": (keras.applications.MobileNetV2, {"alpha": 0.35}, "tf"),
    "ResNet50V2": (keras.applications.ResNet50V2, {}, "tf"),
    "EfficientNetLite0": (lite.constructor("EfficientNetLite0"), {}, "raw"),
    "EfficientNetV2B0": (keras.applications.EfficientNetV2B0, {}, "raw"),
}
IMAGE_PX = 32
TINY_PX = 8


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """float32 (count, 32, 32, 3) in 0..255: smooth, each with its own tint."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 4, 4, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1)))
    noise = rng.normal(0, 10, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.float32)


def live_classifier(name: str, num_classes: int, seed: int = 0) -> Classifier:
    """A random classifier with moving statistics from one training pass.

    Without it a random EfficientNet in inference mode is nearly dead: its
    mean feature is about 1e-5.
    """
    constructor, arguments, pixels = SPECS[name]
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    backbone = constructor(
        weights=None,
        include_top=False,
        input_shape=(IMAGE_PX, IMAGE_PX, 3),
        **arguments,
    )
    classifier = make_classifier(
        backbone, pixels=pixels, num_classes=num_classes, seed=seed
    )
    calibrate(classifier, pictures(64, seed=seed + 1))
    return classifier


def tiny_classifier(
    num_classes: int = 3, seed: int = 0, precision: str = "float32"
) -> Classifier:
    """Returns conv -> norm -> relu -> top_conv -> top_norm at 8 px.

    The moving statistics differ from those of a new BatchNorm, so tests detect
    a BatchNorm that normalises with the batch's statistics.
    """
    # In this order, because clearing the session resets the precision.
    keras.utils.clear_session()
    devices.set_precision(precision)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((TINY_PX, TINY_PX, 3), name="input")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(5, 3, name="top_conv")(x)
    x = keras.layers.BatchNormalization(name="top_norm")(x)
    classifier = make_classifier(
        keras.Model(inputs, x, name="tiny"),
        pixels="tf",
        num_classes=num_classes,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    for key, variable in classifier.variables.items():
        if "norm" in key:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return classifier


def tiny_images(count: int, seed: int = 0) -> np.ndarray:
    """float32 (count, 8, 8, 3) in 0..255."""
    return pictures(count, seed)[:, ::4, ::4]


def labels_of(count: int, num_classes: int, seed: int = 0) -> np.ndarray:
    """int32 (count,)."""
    rng = np.random.default_rng([seed, count])
    return rng.integers(0, num_classes, count).astype(np.int32)


def batch_of(
    images: np.ndarray, labels: np.ndarray, size: int, padding: float = 0.0
) -> dict[str, np.ndarray]:
    """Returns a batch of `size` rows; missing images are all `padding`."""
    missing = size - len(labels)
    rows = [(0, missing)] + [(0, 0)] * 3
    return {
        "images": np.pad(images, rows, constant_values=padding),
        "labels": np.pad(labels, (0, missing)),
        "mask": np.pad(np.ones(len(labels), np.float32), (0, missing)),
    }


def copy_of(
    classifier: Classifier, strategy: tf.distribute.Strategy
) -> Classifier:
    """Returns a copy of the classifier that is created under a strategy."""
    with strategy.scope():
        copy = make_classifier(
            keras.models.clone_model(classifier.backbone),
            pixels=classifier.pixels,
            num_classes=classifier.head.units,
            seed=0,
            multilabel=classifier.multilabel,
        )
        for key, variable in copy.variables.items():
            variable.assign(classifier.variables[key].numpy())
    return copy
