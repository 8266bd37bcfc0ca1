"""Exports a trained classifier as files that serve without the trainer.

OUTPUT/saved_model   signatures serving_default (pixels), serving_bytes and
                     class_names; the names are in assets/class_names.json too
OUTPUT/model.keras   pixels -> probabilities and label
OUTPUT/model.tflite  pixels of one image -> probabilities
OUTPUT/model.onnx    pixels -> probabilities
OUTPUT/labels.txt    class names, one per line
OUTPUT/README.md     code that loads each format
OUTPUT/model_card.md data, recipe, metrics, sizes and speeds, limits
OUTPUT/export.json   class names, image size, result of the comparison, list of
                     files

Which models are written is chosen. They include preprocessing, but no
augmentation.

Every output of a signature has the batch as its first dimension. TensorFlow
Serving requires this: it answers an HTTP request row by row and splits batches.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.config.fields import (
    KERAS_FORMAT,
    NONE,
    ONNX,
    SAVED_MODEL,
    TFLITE,
)
from trainer.data.rendering import PLAIN, Rendering, render
from trainer.errors import TrainerError, first_line, reason_of
from trainer.model.classifier import Classifier
from trainer.results.export_card import CARD, CardFacts, model_card
from trainer.results.export_files import (
    KERAS_FILE,
    MODELS,
    RECORD,
    own_files,
)
from trainer.results.export_labels import LABELS, labels_text
from trainer.results.export_readme import README, readme
from trainer.results.format_check import Measurement
from trainer.results.keras_export import CALIBRATED, calibrated, keras_model
from trainer.results.onnx_export import onnx_model
from trainer.results.servable import Servable, Served
from trainer.results.tflite_export import tflite_model
from trainer.storage import files, folders

NAMES_FILE = "class_names.json"
# Largest accepted difference of a probability; float32 sums differ by rounding.
MAX_DIFFERENCE = 1e-4


class Formats(NamedTuple):
    """The models of an export.

    Attributes:
      names: of the formats.
      quantize: of the tflite model.
      calibration: for int8; see `tflite_model`.
    """

    names: tuple[str, ...] = (SAVED_MODEL, KERAS_FORMAT)
    quantize: str = NONE
    calibration: np.ndarray | None = None


DEFAULT_FORMATS = Formats()


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
    formats: Formats = DEFAULT_FORMATS,
    measure: Callable[[str], Measurement] | None = None,
    card: CardFacts | None = None,
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
      formats: the models to write.
      measure: maps the folder with the models to their accuracy, size and
        speed, and raises a TrainerError if a model is wrong.
      card: what only the run knows, for model_card.md.

    Returns:
      The largest difference of a probability, by signature or Keras file.

    Raises:
      TrainerError: the folder contains other files or cannot be written to, or
        the loaded models predict something else. It is unchanged then.
    """
    served = Served(
        classifier, class_names, flip, rendering, thresholds, temperature
    )
    filled = folders.replaced_folder(folder, own=own_files, last=(RECORD,))
    with _one_line_errors(folder), filled as partial:
        with _tensorflow_errors(folder):
            _write(partial, served, formats)
        differences = _compare(partial, folder, served, encoded)
        measured = measure(partial) if measure is not None else None
        _write_texts(partial, served, formats, measured, card or CardFacts())
        compared = {
            "compared_images": len(encoded),
            "largest_difference": differences,
            "quantize": formats.quantize,
            **(measured.to_json() if measured is not None else {}),
        }
        _write_record(partial, {**record, **served.record(), **compared})
    return differences


def _write_texts(
    folder: str,
    served: Served,
    formats: Formats,
    measured: Measurement | None,
    card: CardFacts,
) -> None:
    """Writes what people read."""
    texts = {
        LABELS: labels_text(served.class_names),
        README: readme(served, formats.names, formats.quantize),
        CARD: model_card(served, measured, card),
    }
    for name, text in texts.items():
        files.write_text(f"{folder}/{name}", text)


def _write_record(folder: str, record: dict[str, Any]) -> None:
    """Writes export.json, with a list of all files."""
    listed = sorted([*folders.files_below(folder), RECORD])
    text = json.dumps({**record, "files": listed}, indent=2, ensure_ascii=False)
    files.write_text(f"{folder}/{RECORD}", text)


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
        f"--output={folder!r}: cannot be written to ({reason}); give a"
        " writable folder"
    )


def _write(folder: str, served: Served, formats: Formats) -> None:
    classifier, flip = served.classifier, served.flip
    for name in formats.names:
        path = f"{folder}/{MODELS[name]}"
        if name == SAVED_MODEL:
            _write_saved_model(folder, path, served)
        elif name == KERAS_FORMAT:
            keras_model(
                classifier,
                served.class_names,
                flip=flip,
                thresholds=served.thresholds,
                temperature=served.temperature,
            ).save(path)
        elif name == TFLITE:
            content = tflite_model(
                classifier,
                flip=flip,
                quantize=formats.quantize,
                calibration=formats.calibration,
            )
            files.write_bytes(path, content)
        elif name == ONNX:
            files.write_bytes(path, onnx_model(classifier, flip=flip))


def _write_saved_model(folder: str, path: str, served: Served) -> None:
    names_file = f"{folder}/{NAMES_FILE}"
    files.write_text(
        names_file, json.dumps(list(served.class_names), ensure_ascii=False)
    )
    servable = Servable(served, names_file)
    tf.saved_model.save(
        servable,
        path,
        signatures={
            "serving_default": servable.pixels,
            "serving_bytes": servable.encoded,
            "class_names": servable.names,
        },
    )
    # The SavedModel contains a copy.
    files.remove(names_file)


def _consistent(answer: dict[str, tf.Tensor], served: Served) -> bool:
    """Returns whether labels, or decisions, are those of the probabilities."""
    found = answer["probabilities"].numpy()
    if served.thresholds is not None:
        expected = found >= served.thresholds
        return bool((answer["decisions"].numpy() == expected).all())
    labels = [label.decode() for label in answer["label"].numpy()]
    return labels == [served.class_names[i] for i in found.argmax(axis=1)]


def _compare(
    written: str, folder: str, served: Served, encoded: Sequence[bytes]
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
    answers: dict[str, dict[str, tf.Tensor]] = {}
    signatures = _signatures(written)
    if signatures:
        encoded_ones = tf.constant(encoded)
        answers["serving_bytes"] = signatures["serving_bytes"](encoded_ones)
        answers["serving_default"] = signatures["serving_default"](images)
    if files.is_file(f"{written}/{KERAS_FILE}"):
        keras_loaded = keras.models.load_model(f"{written}/{KERAS_FILE}")
        answers[KERAS_FILE] = keras_loaded(images, training=False)
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
    if signatures and _named(signatures, len(class_names)) != [*class_names]:
        raise TrainerError(
            f"{folder}: the signature class_names returns other class names;"
            " nothing was exported"
        )
    return differences


def _signatures(written: str) -> dict[str, Any]:
    """Returns the signatures of the SavedModel; {} if there is none."""
    path = f"{written}/{MODELS[SAVED_MODEL]}"
    if not files.is_dir(path):
        return {}
    loaded = tf.saved_model.load(path)
    # The signatures do not keep the variables alive.
    return {**loaded.signatures, "": loaded}


def _named(signatures: dict[str, Any], classes: int) -> list[str]:
    """Returns the class names that the SavedModel gives."""
    places = tf.range(classes, dtype=tf.int64)
    names = signatures["class_names"](places)["class_names"].numpy()
    return [name.decode() for name in names]
