"""The exported Keras model, which needs no code of this project."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocessing_layers

# The output with the probabilities at the temperature of the run.
CALIBRATED = "calibrated_probabilities"


def keras_model(
    classifier: Classifier,
    class_names: Sequence[str],
    *,
    flip: bool = False,
    thresholds: np.ndarray | None = None,
    temperature: float | None = None,
) -> keras.Model:
    """Builds the model (n, px, px, 3) in 0..255 -> `probabilities`, `label`.

    It contains no code of this project, so Keras alone can load it. The class
    names are `get_layer("label").get_vocabulary()`.

    With thresholds, the second output is `decisions` (n, classes), 1 for each
    label of an image; the class names are in export.json only. With a
    temperature, there is also the output `CALIBRATED`.
    """
    side = classifier.image_px
    inputs = keras.Input((side, side, 3), name="images")
    x = inputs
    for layer in preprocessing_layers(classifier.pixels):
        x = layer(x)
    if flip:
        of_each = [
            _probabilities(thresholds)(classifier.model(images, training=False))
            for images in (x, keras.ops.flip(x, axis=2))
        ]
        probabilities = keras.layers.Average(name="probabilities")(of_each)
    else:
        logits = classifier.model(x, training=False)
        probabilities = _probabilities(thresholds, "probabilities")(logits)
    if thresholds is not None:
        return _keras_labels(inputs, probabilities, thresholds)
    label = keras.layers.StringLookup(
        vocabulary=list(class_names),
        num_oov_indices=0,
        invert=True,
        name="label",
    )(keras.ops.argmax(probabilities, axis=-1))
    outputs = {"probabilities": probabilities, "label": label}
    if temperature is not None:
        outputs[CALIBRATED] = calibrated(probabilities, temperature)
    return keras.Model(inputs, outputs, name="export")


def calibrated(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns the softmax of log(probabilities) / temperature.

    Args:
      probabilities: float32 (n, classes), as a tensor or a Keras tensor.
      temperature: above 0.
    """
    # The logarithm of a probability of 0 is -inf, whose exponential is 0.
    return keras.ops.softmax(keras.ops.log(probabilities) / temperature)


def _probabilities(
    thresholds: np.ndarray | None, name: str | None = None
) -> keras.layers.Layer:
    """Returns the layer from logits to probabilities."""
    if thresholds is None:
        return keras.layers.Softmax(name=name)
    return keras.layers.Activation("sigmoid", name=name)


def _keras_labels(
    inputs: keras.KerasTensor,
    probabilities: keras.KerasTensor,
    thresholds: np.ndarray,
) -> keras.Model:
    """Returns the model of `keras_model` with the output `decisions`.

    A Keras file can hold the thresholds as the means of a normalization. The
    difference from the threshold has the exact sign.
    """
    above = keras.layers.Normalization(
        mean=thresholds.tolist(),
        variance=[1.0] * len(thresholds),
        name="above_threshold",
    )(probabilities)
    decisions = keras.ops.cast(above >= 0, "int32")
    return keras.Model(
        inputs,
        {"probabilities": probabilities, "decisions": decisions},
        name="export",
    )
