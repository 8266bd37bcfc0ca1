"""Class activation maps: where in an image the evidence for a class is."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocess


def class_activations(
    classifier: Classifier, image: np.ndarray, labels: list[int]
) -> np.ndarray:
    """Returns the Grad-CAM of an image for some classes.

    With the backbone's last features A (rows, columns, channels), Grad-CAM is
    ReLU(sum_k a_k A_k), where a_k is the mean gradient of the logit by A_k.
    Behind the features are only a mean over rows and columns and a dense layer
    with kernel W, so a_k is W_kc / (rows * columns), which needs no gradient
    (Selvaraju et al., "Grad-CAM", ICCV 2017, section 3.1).

    Args:
      classifier: its current weights are used, in inference mode.
      image: float32 (px, px, 3) in 0..255.
      labels: the classes.

    Returns:
      float32 (len(labels), rows, columns), 0 or more.
    """
    inputs = preprocess(tf.constant(image[None]), classifier.pixels)
    features = classifier.backbone(inputs, training=False)
    maps = tf.cast(features, tf.float32)[0].numpy()
    kernel = tf.convert_to_tensor(classifier.head.kernel.value).numpy()
    size = maps.shape[0] * maps.shape[1]
    found = np.einsum("rck,kn->nrc", maps, kernel[:, labels]) / size
    return np.maximum(found, 0)
