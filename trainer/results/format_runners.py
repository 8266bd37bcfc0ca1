"""Loads an exported model without this trainer, and runs it on images.

Only what a format needs is imported, so that the answer shows that the file
serves without anything else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from trainer.config.fields import KERAS_FORMAT, ONNX, SAVED_MODEL, TFLITE

# float32 (n, px, px, 3) in 0..255 -> float32 (n, classes).
_Run = Callable[[np.ndarray], np.ndarray]
_BATCH = 32
# One image at a time is timed: a few to warm up, then the median of the others.
_WARM_UP, _TIMED = 3, 20


class FormatJob(NamedTuple):
    """A model to run, and the files of its inputs and outputs.

    Attributes:
      name: of the format.
      path: of the model.
      images: an .npy file, uint8 (n, px, px, 3).
      answers: the .npy file to write, float32 (n, classes).
    """

    name: str
    path: str
    images: str
    answers: str


def run_format(job: FormatJob) -> Mapping[str, Any]:
    """Runs a model on all images, and measures the time of one.

    Returns:
      `milliseconds` per image, if one is given at a time, and `runtime`, the
      library with its version.
    """
    run, batch, runtime = _LOADERS[job.name](job.path)
    images = np.load(job.images, mmap_mode="r")
    found = [
        run(images[start : start + batch].astype(np.float32))
        for start in range(0, len(images), batch)
    ]
    np.save(job.answers, np.concatenate(found))
    seconds = []
    for number in range(_WARM_UP + _TIMED):
        image = images[[number % len(images)]].astype(np.float32)
        start = time.perf_counter()
        run(image)
        seconds.append(time.perf_counter() - start)
    middle = float(np.median(seconds[_WARM_UP:]))
    return {"milliseconds": 1000 * middle, "runtime": runtime}


def _saved_model(path: str) -> tuple[_Run, int, str]:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]

    def run(images: np.ndarray) -> np.ndarray:
        # The reference keeps the variables alive.
        assert loaded
        found = serve(images=tf.constant(images))["probabilities"]
        return np.asarray(found.numpy())

    return run, _BATCH, f"tensorflow {tf.__version__}"


def _keras(path: str) -> tuple[_Run, int, str]:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path)
    # As `model.predict` does, without its overhead.
    call = tf.function(lambda images: model(images, training=False))

    def run(images: np.ndarray) -> np.ndarray:
        found = call(tf.constant(images))["probabilities"]
        return np.asarray(found.numpy())

    return run, _BATCH, f"keras {keras.__version__}"


def _tflite(path: str) -> tuple[_Run, int, str]:
    interpreter, runtime = _interpreter(path)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]["index"]

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], images.astype(source["dtype"]))
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target))

    return run, 1, runtime


def _interpreter(path: str) -> tuple[Any, str]:
    """Returns LiteRT's interpreter, or TensorFlow's if that is missing."""
    threads = os.cpu_count() or 1
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        found = tf.lite.Interpreter(path, num_threads=threads)
        return found, f"tf.lite of tensorflow {tf.__version__}"
    from importlib import metadata

    found = Interpreter(path, num_threads=threads)
    return found, f"ai_edge_litert {metadata.version('ai-edge-litert')}"


def _onnx(path: str) -> tuple[_Run, int, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"images": images})[0])

    return run, _BATCH, f"onnxruntime {onnxruntime.__version__}"


_LOADERS: Mapping[str, Callable[[str], tuple[_Run, int, str]]] = {
    SAVED_MODEL: _saved_model,
    KERAS_FORMAT: _keras,
    TFLITE: _tflite,
    ONNX: _onnx,
}
