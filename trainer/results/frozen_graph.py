"""A classifier as one graph from pixels to probabilities, without variables."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Not exported by TensorFlow, but its own converters use it.
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from trainer.model.classifier import Classifier
from trainer.model.mirrored import mirror

INPUT, OUTPUT = "images", "probabilities"


def frozen_graph(
    classifier: Classifier, *, batch: int | None, flip: bool = False
) -> Any:
    """Traces the classifier, and turns its variables into constants.

    The converters of TFLite and ONNX need it: a function with variables may
    become a TFLite model that returns NaN without an error, and an ONNX model
    with constants of the normalization as inputs.

    Args:
      classifier: in float32.
      batch: number of images per call; None for any.
      flip: whether to average the probabilities of each image with those of
        its mirror image.

    Returns:
      A concrete function, float32 (batch, px, px, 3) in 0..255 -> float32
      (batch, classes).
    """

    # The mean of probabilities, not of logits: int8 has no logarithm.
    @tf.function(autograph=False)
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        found = classifier.probabilities(images)
        if flip:
            found = (found + classifier.probabilities(mirror(images))) / 2
        return found

    side = classifier.image_px
    traced = probabilities.get_concrete_function(
        tf.TensorSpec((batch, side, side, 3), name=INPUT)
    )
    return convert_variables_to_constants_v2(traced)
