"""Small classifiers whose features are alive, for tests of the step."""

from __future__ import annotations

import keras
import numpy as np

from trainer.model.classifier import Classifier, make_classifier

SPECS = {
    "EfficientNetB0": (keras.applications.EfficientNetB0, {}, "raw"),
    "MobileNetV2": (keras.applications.MobileNetV2, {"alpha": 0.35}, "tf"),
    "ResNet50V2": (keras.applications.ResNet50V2, {}, "tf"),
}
IMAGE_PX = 32


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
    norms = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    images = pictures(64, seed=seed + 1)
    scaled = images / 127.5 - 1 if pixels == "tf" else images
    backbone(scaled, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return classifier
