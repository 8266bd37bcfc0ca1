"""The classifier as a TFLite model, in float32, float16 or int8."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer.config.fields import FLOAT16, INT8, NONE
from trainer.errors import TrainerError, reason_of
from trainer.model.classifier import Classifier
from trainer.native_logs import native_notes_hidden
from trainer.results.frozen_graph import frozen_graph


def tflite_model(
    classifier: Classifier,
    *,
    flip: bool = False,
    quantize: str = NONE,
    calibration: np.ndarray | None = None,
) -> bytes:
    """Returns the content of a TFLite file: one image -> probabilities.

    The input is (1, px, px, 3) in 0..255, float32, or uint8 for int8. The
    output is float32 (1, classes).

    Args:
      classifier: in float32.
      flip: see `frozen_graph`.
      quantize: none; float16 for weights; int8 for weights and activations.
      calibration: uint8 (n, px, px, 3), training images from which the ranges
        of the activations are measured; for int8.

    Raises:
      TrainerError: the model cannot be converted.
    """
    # A block that raises would show pages of the converter's notes.
    with native_notes_hidden(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _converted(classifier, flip, quantize, calibration)
        except Exception as error:
            # The converter raises many types, bare Exception among them.
            reason = error
    raise TrainerError(
        f"--export_formats=tflite: with --quantize={quantize}, TensorFlow"
        f" cannot convert the model ({reason_of(reason)}); give other formats,"
        " or another --quantize"
    ) from reason


def _converted(
    classifier: Classifier,
    flip: bool,
    quantize: str,
    calibration: np.ndarray | None,
) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [frozen_graph(classifier, batch=1, flip=flip)], None
    )
    if quantize != NONE:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if quantize == INT8:
        assert calibration is not None
        images = calibration
        converter.representative_dataset = lambda: _representative(images)
        # An operation that has no int8 version is an error.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = tf.uint8
    content = bytes(converter.convert())
    if quantize == INT8:
        _check_input(content)
    return content


def _representative(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yields images as the converter takes them.

    Each has a black and a white pixel in a corner. So the input's range is
    0..255, and a pixel of the uint8 input is the pixel's own number.
    """
    for image in images:
        pixels = image.astype(np.float32)
        pixels[0, 0], pixels[0, -1] = 0, 255
        yield [pixels[np.newaxis]]


def _check_input(content: bytes) -> None:
    interpreter = tf.lite.Interpreter(model_content=content)
    found = interpreter.get_input_details()[0]["quantization"]
    if found != (1.0, 0):
        raise ValueError(f"scale and zero point of the input are {found}")
