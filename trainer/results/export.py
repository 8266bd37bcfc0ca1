"""Exports a trained classifier as files that serve without the trainer.

OUTPUT/saved_model  signatures serving_default (pixels), serving_bytes and
                    class_names; the names are in assets/class_names.json too
OUTPUT/model.keras  pixels -> probabilities and label
OUTPUT/export.json  class names, image size, result of the comparison, list of
                    files

The models include preprocessing and class names, but no augmentation.

Every output of a signature has the batch as its first dimension. TensorFlow
Serving requires this: it answers an HTTP request row by row and splits batches.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.data.rendering import PLAIN, Rendering, fit, render
from trainer.errors import TrainerError, first_line, reason_of
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocessing_layers
from trainer.results.export_files import (
    KERAS_FILE,
    RECORD,
    SAVED_MODEL,
    own_files,
)
from trainer.storage import files, folders

NAMES_FILE = "class_names.json"
# The output with the probabilities at the temperature of the run.
CALIBRATED = "calibrated_probabilities"
# Largest accepted difference of a probability; float32 sums differ by rounding.
MAX_DIFFERENCE = 1e-4


class _Served(NamedTuple):
    """A classifier, and how its predictions are made; see `write_export`."""

    classifier: Classifier
    class_names: Sequence[str]
    flip: bool
    rendering: Rendering
    temperature: float | None = None


class _Servable(tf.Module):
    """The content of the SavedModel."""

    def __init__(self, served: _Served, names_file: str) -> None:
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

        TensorFlow Serving refuses to call a signature without inputs
        ("Expected at least one input Tensor").
        """
        return {"class_names": tf.gather(self._names, indices)}

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self._model.probabilities(images, flip=self._flip)
        answer = {
            "probabilities": probabilities,
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=1)),
        }
        if self._temperature is not None:
            answer[CALIBRATED] = calibrated(probabilities, self._temperature)
        return answer


def calibrated(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns the softmax of log(probabilities) / temperature.

    Args:
      probabilities: float32 (n, classes), as a tensor or a Keras tensor.
      temperature: above 0.
    """
    # The logarithm of a probability of 0 is -inf, whose exponential is 0.
    return keras.ops.softmax(keras.ops.log(probabilities) / temperature)


def keras_model(
    classifier: Classifier,
    class_names: Sequence[str],
    *,
    flip: bool = False,
    temperature: float | None = None,
) -> keras.Model:
    """Builds the model (n, px, px, 3) in 0..255 -> `probabilities`, `label`.

    With a temperature it also has the output `CALIBRATED`.

    It contains no code of this project, so Keras alone can load it. The class
    names are `get_layer("label").get_vocabulary()`.
    """
    side = classifier.image_px
    inputs = keras.Input((side, side, 3), name="images")
    x = inputs
    for layer in preprocessing_layers(classifier.pixels):
        x = layer(x)
    if flip:
        of_each = [
            keras.layers.Softmax()(classifier.model(images, training=False))
            for images in (x, keras.ops.flip(x, axis=2))
        ]
        probabilities = keras.layers.Average(name="probabilities")(of_each)
    else:
        logits = classifier.model(x, training=False)
        probabilities = keras.layers.Softmax(name="probabilities")(logits)
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


def write_export(
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    encoded: Sequence[bytes],
    record: dict[str, Any],
    *,
    flip: bool = False,
    rendering: Rendering = PLAIN,
    temperature: float | None = None,
) -> dict[str, float]:
    """Writes the files, loads them again and compares their predictions.

    Args:
      folder: the output folder; replaced if it contains only an earlier export.
      classifier: in float32.
      class_names: in the order of the logits.
      encoded: whole image files to compare on; at least one.
      record: more content of export.json.
      flip: whether the models average the probabilities of an image and its
        mirror image. The predictions that they are compared with do the same.
      rendering: how the signatures decode and resize images.
      temperature: of `CALIBRATED`; None if the models do not have this output.

    Returns:
      The largest difference of a probability from this trainer's, by signature
      or file.

    Raises:
      TrainerError: the folder contains other files or cannot be written to, or
        the loaded models give other probabilities; it is unchanged then.
    """
    served = _Served(classifier, class_names, flip, rendering, temperature)
    with (
        _one_line_errors(folder),
        folders.replaced_folder(
            folder, own=own_files, last=(RECORD,)
        ) as partial,
    ):
        try:
            _write(partial, served)
        except tf.errors.OpError as error:
            # The text is "PATH; REASON [Op:NAME]", and PATH is in the hidden
            # folder.
            said = first_line(error).rpartition("; ")[2].partition(" [Op:")[0]
            raise _not_written(folder, said) from error
        differences = _compare(partial, folder, served, encoded)
        record = {
            **record,
            "class_names": list(class_names),
            "image_size": classifier.image_px,
            "compared_images": len(encoded),
            "largest_difference": differences,
            "files": sorted([*folders.files_below(partial), RECORD]),
        }
        files.write_text(
            f"{partial}/{RECORD}",
            json.dumps(record, indent=2, ensure_ascii=False),
        )
    return differences


@contextlib.contextmanager
def _one_line_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except folders.StrangerError as error:
        if not error.name:
            raise TrainerError(
                f"--output={folder!r}: is not a folder; give a new folder"
            ) from error
        raise TrainerError(
            f"--output={folder!r}: holds files that are not part of an"
            f" export, such as {error.name!r}; move them elsewhere, or"
            " give a new folder"
        ) from error
    except OSError as error:
        raise _not_written(folder, reason_of(error)) from error


def _not_written(folder: str, reason: str) -> TrainerError:
    return TrainerError(
        f"--output={folder!r}: cannot be written to ({reason}); give a folder"
        " that can"
    )


def _write(folder: str, served: _Served) -> None:
    names_file = f"{folder}/{NAMES_FILE}"
    files.write_text(
        names_file, json.dumps(list(served.class_names), ensure_ascii=False)
    )
    servable = _Servable(served, names_file)
    tf.saved_model.save(
        servable,
        f"{folder}/{SAVED_MODEL}",
        signatures={
            "serving_default": servable.pixels,
            "serving_bytes": servable.encoded,
            "class_names": servable.names,
        },
    )
    # The SavedModel contains a copy.
    files.remove(names_file)
    keras_file = f"{folder}/{KERAS_FILE}"
    keras_model(
        served.classifier,
        served.class_names,
        flip=served.flip,
        temperature=served.temperature,
    ).save(keras_file)


def _compare(
    written: str, folder: str, served: _Served, encoded: Sequence[bytes]
) -> dict[str, float]:
    classifier, class_names = served.classifier, served.class_names
    side = classifier.image_px
    images = tf.stack(
        [render(tf.constant(e), side, served.rendering) for e in encoded]
    )
    probabilities = classifier.probabilities(images, flip=served.flip)
    own = {"probabilities": probabilities.numpy()}
    if served.temperature is not None:
        scaled = calibrated(probabilities, served.temperature)
        own[CALIBRATED] = scaled.numpy()
    loaded = tf.saved_model.load(f"{written}/{SAVED_MODEL}")
    signatures = loaded.signatures
    keras_loaded = keras.models.load_model(f"{written}/{KERAS_FILE}")
    answers = {
        "serving_bytes": signatures["serving_bytes"](tf.constant(encoded)),
        "serving_default": signatures["serving_default"](images),
        KERAS_FILE: keras_loaded(images, training=False),
    }
    differences = {}
    for name, answer in answers.items():
        found = answer["probabilities"].numpy()
        # NumPy's maximum, unlike Python's, is NaN if a value is NaN.
        gaps = [
            np.abs(answer[output].numpy() - expected).max()
            for output, expected in own.items()
        ]
        difference = float(np.max(gaps))
        labels = [label.decode() for label in answer["label"].numpy()]
        argmax = [class_names[i] for i in found.argmax(axis=1)]
        # A comparison with NaN is false.
        if not difference <= MAX_DIFFERENCE or labels != argmax:
            raise TrainerError(
                f"{folder}: {name} does not give this trainer's predictions"
                f" (largest difference of a probability {difference:.3g};"
                f" allowed: {MAX_DIFFERENCE:g}); nothing was exported"
            )
        differences[name] = difference
    places = tf.range(len(class_names), dtype=tf.int64)
    names = signatures["class_names"](places)["class_names"].numpy()
    if [name.decode() for name in names] != list(class_names):
        raise TrainerError(
            f"{folder}: the signature class_names returns other class names;"
            " nothing was exported"
        )
    return differences
