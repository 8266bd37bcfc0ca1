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
import fnmatch
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.decode import decode_image, decode_within_limits, resize
from trainer.errors import TrainerError, first_line, reason_of
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocessing_layers
from trainer.storage import files, folders

SAVED_MODEL, KERAS_FILE, RECORD = "saved_model", "model.keras", "export.json"
NAMES_FILE = "class_names.json"
# The files of an export whose export.json has no list of files.
_FILES = (
    f"{SAVED_MODEL}/saved_model.pb",
    f"{SAVED_MODEL}/fingerprint.pb",
    f"{SAVED_MODEL}/variables/variables.index",
    f"{SAVED_MODEL}/variables/variables.data-*",
    KERAS_FILE,
    RECORD,
)
_FOLDERS = (
    f"{SAVED_MODEL}/",
    f"{SAVED_MODEL}/assets/",
    f"{SAVED_MODEL}/variables/",
)
# Largest accepted difference of a probability; float32 sums differ by rounding.
MAX_DIFFERENCE = 1e-4


class _Servable(tf.Module):
    """The content of the SavedModel."""

    def __init__(
        self,
        classifier: Classifier,
        class_names: Sequence[str],
        names_file: str,
        *,
        flip: bool,
    ) -> None:
        """Creates the module.

        Args:
          classifier: in float32.
          class_names: in the order of the logits.
          names_file: JSON file with the class names; a copy becomes an asset.
          flip: see `write_export`.
        """
        super().__init__()
        self._flip = flip
        self._model = classifier
        self._keras_variables = [
            variable.value for variable in classifier.variables.values()
        ]
        self._names = tf.constant(list(class_names))
        self._names_file = tf.saved_model.Asset(names_file)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
    )
    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies RGB images in 0..255, all of one size."""
        side = self._model.image_px
        return self._answer(tf.round(tf.image.resize(images, (side, side))))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "images")])
    def encoded(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies whole JPEG, PNG, BMP, GIF or WebP files within limits."""
        side = self._model.image_px
        resized = tf.map_fn(
            lambda image: resize(decode_within_limits(image), side),
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
        return {
            "probabilities": probabilities,
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=1)),
        }


def keras_model(
    classifier: Classifier, class_names: Sequence[str], *, flip: bool = False
) -> keras.Model:
    """Builds the model (n, px, px, 3) in 0..255 -> `probabilities`, `label`.

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
    return keras.Model(
        inputs, {"probabilities": probabilities, "label": label}, name="export"
    )


def write_export(
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    encoded: Sequence[bytes],
    record: dict[str, Any],
    *,
    flip: bool = False,
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

    Returns:
      The largest difference of a probability from this trainer's, by signature
      or file.

    Raises:
      TrainerError: the folder contains other files or cannot be written to, or
        the loaded models give other probabilities. The folder is unchanged
        then.
    """
    with (
        _one_line_errors(folder),
        folders.replaced_folder(folder, own=_own, last=(RECORD,)) as partial,
    ):
        try:
            _write(partial, classifier, class_names, flip=flip)
        except tf.errors.OpError as error:
            # The text is "PATH; REASON [Op:NAME]", and PATH is in the hidden
            # folder.
            said = first_line(error).rpartition("; ")[2].partition(" [Op:")[0]
            raise _not_written(folder, said) from error
        differences = _compare(
            partial, folder, classifier, class_names, encoded, flip=flip
        )
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


def _own(folder: str) -> folders.Own:
    """Returns a predicate that is true for names of files of an export.

    It is false for every name if the folder has neither an export.json nor the
    marker of an interrupted upload.
    """
    record = _read_record(folder)
    if record is not None:
        listed = record.get("files")
    elif folders.is_unfinished(folder):
        listed = folders.unfinished_files(folder)
    else:
        return lambda name: False
    if isinstance(listed, list):
        own = {*map(str, listed), *_FOLDERS}
        return lambda name: name in own
    return lambda name: any(
        fnmatch.fnmatchcase(name, pattern) for pattern in _FILES + _FOLDERS
    )


def _read_record(folder: str) -> dict[str, Any] | None:
    """Returns the content of export.json; None if missing or invalid."""
    path = os.path.join(folder, RECORD)
    if not files.is_file(path):
        return None
    try:
        record = json.loads(files.read_text(path))
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(record, dict) and {"class_names", "image_size"} <= set(
        record
    )
    return record if is_ours else None


def _write(
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    *,
    flip: bool,
) -> None:
    names_file = f"{folder}/{NAMES_FILE}"
    files.write_text(
        names_file, json.dumps(list(class_names), ensure_ascii=False)
    )
    servable = _Servable(classifier, class_names, names_file, flip=flip)
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
    keras_model(classifier, class_names, flip=flip).save(keras_file)


def _compare(
    written: str,
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    encoded: Sequence[bytes],
    *,
    flip: bool,
) -> dict[str, float]:
    side = classifier.image_px
    images = tf.stack(
        [resize(decode_image(tf.constant(e)), side) for e in encoded]
    )
    own = classifier.probabilities(images, flip=flip).numpy()
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
        difference = float(np.abs(found - own).max())
        labels = [label.decode() for label in answer["label"].numpy()]
        expected = [class_names[i] for i in found.argmax(axis=1)]
        # A comparison with NaN is false.
        if not difference <= MAX_DIFFERENCE or labels != expected:
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
