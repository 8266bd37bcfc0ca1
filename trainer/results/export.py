"""A trained classifier as files that serve without this trainer.

OUTPUT/saved_model  signatures serving_default (pixels) and serving_bytes
OUTPUT/model.keras  pixels -> probabilities and label
OUTPUT/export.json  class names, picture size, what was compared

Preprocessing and class names are inside; augmentation is no part of a
prediction and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer import files
from trainer.data.decode import decode_image, resize
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocessing_layers

SAVED_MODEL, KERAS_FILE, RECORD = "saved_model", "model.keras", "export.json"
# Of a probability; the same float32 arithmetic in another order.
MAX_DIFFERENCE = 1e-4


class _Servable(tf.Module):
    """What the SavedModel holds."""

    def __init__(
        self, classifier: Classifier, class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._model = classifier
        self._keras_variables = [
            variable.value for variable in classifier.variables.values()
        ]
        self._names = tf.constant(list(class_names))

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
    )
    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """RGB pictures in 0..255, of any one size."""
        side = self._model.image_px
        return self._answer(tf.round(tf.image.resize(images, (side, side))))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "images")])
    def encoded(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Whole files: JPEG, PNG, BMP, GIF or WebP."""
        side = self._model.image_px
        pictures = tf.map_fn(
            lambda image: resize(decode_image(image), side),
            images,
            fn_output_signature=tf.TensorSpec((side, side, 3)),
        )
        return self._answer(pictures)

    def _answer(self, pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self._model.probabilities(pictures)
        return {
            "probabilities": probabilities,
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=1)),
            "class_names": self._names,
        }


def keras_model(
    classifier: Classifier, class_names: Sequence[str]
) -> keras.Model:
    """Pixels (n, px, px, 3) in 0..255 -> `probabilities` and `label`.

    It holds no code of this project, so that Keras alone can load it. The
    class names are `get_layer("label").get_vocabulary()`.
    """
    side = classifier.image_px
    inputs = keras.Input((side, side, 3), name="images")
    x = inputs
    for layer in preprocessing_layers(classifier.pixels):
        x = layer(x)
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
) -> dict[str, float]:
    """Writes the files, loads them again and compares them.

    Args:
      folder: replaced if it holds an earlier export; must not hold other
        things.
      classifier: in float32.
      class_names: in the order of the logits.
      encoded: whole picture files to compare on; at least one.
      record: what export.json says besides.

    Returns:
      The largest difference of a probability from this trainer's own, by what
      was loaded.

    Raises:
      TrainerError: the folder holds other things, or cannot be written to; or
        what was loaded gives other figures, and then nothing is left there.
    """
    try:
        if files.exists(folder) and not _is_export(folder):
            raise TrainerError(
                f"--output={folder!r}: holds other things than an export; give"
                " a new folder"
            )
        with files.folder_aside(folder, last=(RECORD,)) as partial:
            _write(partial, classifier, class_names)
            differences = _compare(
                partial, folder, classifier, class_names, encoded
            )
            record = {
                **record,
                "class_names": list(class_names),
                "image_size": classifier.image_px,
                "compared_pictures": len(encoded),
                "largest_difference": differences,
            }
            files.write_text(
                f"{partial}/{RECORD}",
                json.dumps(record, indent=2, ensure_ascii=False),
            )
    except OSError as error:
        raise TrainerError(
            f"--output={folder!r}: cannot be written to ({error.strerror});"
            " give a folder that can"
        ) from error
    return differences


def _is_export(folder: str) -> bool:
    if not files.is_dir(folder):
        return False
    names = files.names(folder)
    return not names or RECORD in names or files.UNFINISHED in names


def _write(
    folder: str, classifier: Classifier, class_names: Sequence[str]
) -> None:
    servable = _Servable(classifier, class_names)
    tf.saved_model.save(
        servable,
        f"{folder}/{SAVED_MODEL}",
        signatures={
            "serving_default": servable.pixels,
            "serving_bytes": servable.encoded,
        },
    )
    keras_model(classifier, class_names).save(f"{folder}/{KERAS_FILE}")


def _compare(
    written: str,
    folder: str,
    classifier: Classifier,
    class_names: Sequence[str],
    encoded: Sequence[bytes],
) -> dict[str, float]:
    side = classifier.image_px
    pictures = tf.stack(
        [resize(decode_image(tf.constant(e)), side) for e in encoded]
    )
    own = classifier.probabilities(pictures).numpy()
    loaded = tf.saved_model.load(f"{written}/{SAVED_MODEL}")
    signatures = loaded.signatures
    keras_loaded = keras.models.load_model(f"{written}/{KERAS_FILE}")
    answers = {
        "serving_bytes": signatures["serving_bytes"](tf.constant(encoded)),
        "serving_default": signatures["serving_default"](pictures),
        KERAS_FILE: keras_loaded(pictures, training=False),
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
                f"{folder}: {name} does not give this trainer's figures"
                f" (largest difference of a probability {difference:.3g}, at"
                f" most {MAX_DIFFERENCE:g} is right); nothing was exported"
            )
        differences[name] = difference
    return differences
