"""Class activation maps: where in an image the evidence for a class is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocess


def class_activations(
    classifier: Classifier,
    images: np.ndarray,
    labels: Sequence[Sequence[int]],
) -> list[np.ndarray]:
    """Returns the Grad-CAM of each image for some classes.

    All images are one batch. Eagerly, eight of them take little longer than
    one, because most of the time goes into calling the layers.

    With the backbone's last features A (rows, columns, channels), Grad-CAM is
    ReLU(sum_k a_k A_k), where a_k is the mean gradient of the logit by A_k.
    Behind the features are only a mean over rows and columns and a dense layer
    with kernel W, so a_k is W_kc / (rows * columns), which needs no gradient
    (Selvaraju et al., "Grad-CAM", ICCV 2017, section 3.1).

    Args:
      classifier: its current weights are used, in inference mode.
      images: float32 (n, px, px, 3) in 0..255.
      labels: the classes of each image.

    Returns:
      For each image float32 (its classes, rows, columns), 0 or more.
    """
    inputs = preprocess(tf.constant(images), classifier.pixels)
    features = classifier.backbone(inputs, training=False)
    maps = tf.cast(features, tf.float32).numpy()
    kernel = tf.convert_to_tensor(classifier.head.kernel.value).numpy()
    size = maps.shape[1] * maps.shape[2]
    return [
        np.maximum(np.einsum("rck,kn->nrc", own, kernel[:, list(of)]) / size, 0)
        for own, of in zip(maps, labels, strict=True)
    ]
