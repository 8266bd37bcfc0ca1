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
from trainer.results.export_files import (
    KERAS_FILE,
    RECORD,
    SAVED_MODEL,
    own_files,
)
from trainer.results.keras_export import CALIBRATED, calibrated, keras_model
from trainer.results.thresholds import thresholds_to_json
from trainer.storage import files, folders

NAMES_FILE = "class_names.json"
# Largest accepted difference of a probability; float32 sums differ by rounding.
MAX_DIFFERENCE = 1e-4


class _Served(NamedTuple):
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
        """Returns what export.json says about the thresholds; {} without."""
        if self.thresholds is None:
            return {}
        named = thresholds_to_json(self.thresholds, self.class_names)
        return {"thresholds": named}


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


def write_export(
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    encoded: Sequence[bytes],
    record: dict[str, Any],
    *,
    flip: bool = False,
    rendering: Rendering = PLAIN,
    thresholds: np.ndarray | None = None,
    temperature: float | None = None,
) -> dict[str, float]:
    """Writes the files, loads them again and compares their predictions.

    Args:
      folder: the output folder; replaced if it contains only an earlier export.
      classifier: in float32.
      class_names: in the order of the logits.
      encoded: image files to compare on; at least one.
      record: more content of export.json.
      flip: whether predictions, here and in the models, are averaged over an
        image and its mirror image.
      rendering: how the signatures decode and resize images.
      thresholds: float32 (classes,), if an image may have several labels.
      temperature: of `CALIBRATED`; None if the models do not have this output.

    Returns:
      The largest difference of a probability, by signature or file.

    Raises:
      TrainerError: the folder contains other files or cannot be written to, or
        the loaded models predict something else. It is unchanged then.
    """
    served = _Served(
        classifier, class_names, flip, rendering, thresholds, temperature
    )
    with (
        _one_line_errors(folder),
        folders.replaced_folder(
            folder, own=own_files, last=(RECORD,)
        ) as partial,
    ):
        with _tensorflow_errors(folder):
            _write(partial, served)
        differences = _compare(partial, folder, served, encoded)
        record = {
            **record,
            **served.record(),
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
def _tensorflow_errors(folder: str) -> Iterator[None]:
    """Turns an error of TensorFlow's files into one that names the folder."""
    try:
        yield
    except tf.errors.OpError as error:
        # The text is "PATH; REASON [Op:NAME]", and PATH is in a hidden folder.
        said = first_line(error).rpartition("; ")[2].partition(" [Op:")[0]
        raise _not_written(folder, said) from error


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
        thresholds=served.thresholds,
        temperature=served.temperature,
    ).save(keras_file)


def _consistent(answer: dict[str, tf.Tensor], served: _Served) -> bool:
    """Returns whether labels, or decisions, are those of the probabilities."""
    found = answer["probabilities"].numpy()
    if served.thresholds is not None:
        expected = found >= served.thresholds
        return bool((answer["decisions"].numpy() == expected).all())
    labels = [label.decode() for label in answer["label"].numpy()]
    return labels == [served.class_names[i] for i in found.argmax(axis=1)]


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
        # NumPy's maximum, unlike Python's, is NaN if a value is NaN.
        gaps = [
            np.abs(answer[output].numpy() - expected).max()
            for output, expected in own.items()
        ]
        difference = float(np.max(gaps))
        # A comparison with NaN is false.
        if not difference <= MAX_DIFFERENCE or not _consistent(answer, served):
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
