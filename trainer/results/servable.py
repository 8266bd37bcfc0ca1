"""What an export serves, and the content of its SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.rendering import Rendering, fit, render
from trainer.model.classifier import Classifier
from trainer.results.keras_export import CALIBRATED, calibrated
from trainer.results.thresholds import thresholds_to_json


class Served(NamedTuple):
    """A classifier, and how its predictions are made; see `write_export`."""

    classifier: Classifier
    class_names: Sequence[str]
    flip: bool
    rendering: Rendering
    # Of each class, float32 (classes,); None if an image has one label.
    thresholds: np.ndarray | None = None
    # Of `CALIBRATED`; None if there is none.
    temperature: float | None = None

    def record(self) -> dict[str, Any]:
        """Returns what export.json says about the classes."""
        found: dict[str, Any] = {
            "class_names": list(self.class_names),
            "image_size": self.classifier.image_px,
        }
        if self.thresholds is not None:
            found["thresholds"] = thresholds_to_json(
                self.thresholds, self.class_names
            )
        return found


class Servable(tf.Module):
    """The content of the SavedModel."""

    def __init__(self, served: Served, names_file: str) -> None:
        """Creates the module.

        Args:
          served: what the signatures serve.
          names_file: JSON file with the class names; a copy becomes an asset.
        """
        super().__init__()
        self._flip = served.flip
        self._rendering = served.rendering
        self._temperature = served.temperature
        self._model = classifier = served.classifier
        self._keras_variables = [
            variable.value for variable in classifier.variables.values()
        ]
        self._names = tf.constant(list(served.class_names))
        self._thresholds = (
            None
            if served.thresholds is None
            else tf.constant(served.thresholds, tf.float32)
        )
        self._names_file = tf.saved_model.Asset(names_file)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
    )
    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies RGB images in 0..255, all of one size."""
        side = self._model.image_px
        return self._answer(fit(images, side, self._rendering))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "images")])
    def encoded(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies whole JPEG, PNG, BMP, GIF or WebP files within limits."""
        side = self._model.image_px
        resized = tf.map_fn(
            lambda image: render(image, side, self._rendering, checked=False),
            images,
            fn_output_signature=tf.TensorSpec((side, side, 3)),
        )
        return self._answer(resized)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, "indices")])
    def names(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns class names by their positions in the probabilities.

        If an image may have several labels, it returns the thresholds too.
        TensorFlow Serving refuses to call a signature without inputs
        ("Expected at least one input Tensor").
        """
        found = {"class_names": tf.gather(self._names, indices)}
        if self._thresholds is not None:
            found["thresholds"] = tf.gather(self._thresholds, indices)
        return found

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self._model.probabilities(images, flip=self._flip)
        if self._thresholds is not None:
            reached = probabilities >= self._thresholds
            return {
                "probabilities": probabilities,
                "decisions": tf.cast(reached, tf.int32),
            }
        answer = {
            "probabilities": probabilities,
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=1)),
        }
        if self._temperature is not None:
            answer[CALIBRATED] = calibrated(probabilities, self._temperature)
        return answer
