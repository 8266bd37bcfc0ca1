"""A small classifier and its export."""

from __future__ import annotations

import io
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from trainer.model.classifier import Classifier, make_classifier
from trainer.results.export import write_export

NAMES = ("apple pie", "two\nlines", "борщ", "")
PX = 8
RNG = np.random.default_rng(0)


def _png(*size: int) -> bytes:
    # Use Pillow: a TensorFlow operation would initialize the devices too early.
    stream = io.BytesIO()
    pixels = RNG.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PNGS = [_png(5, 9), _png(PX, PX), _png(40, 30), _png(1, 1), _png(7, 7)]


@pytest.fixture(scope="package")
def classifier() -> Classifier:
    inputs = keras.Input((PX, PX, 3))
    # Of some seeds the probabilities are all near 0 or 1.
    initializer = keras.initializers.GlorotUniform(seed=0)
    outputs = keras.layers.Conv2D(
        4, 3, activation="tanh", kernel_initializer=initializer
    )(inputs)
    model = keras.Model(inputs, outputs)
    made = make_classifier(
        model, pixels="torch", num_classes=len(NAMES), seed=0
    )
    # Large weights make the probabilities differ clearly.
    made.head.kernel.assign(made.head.kernel * 20)
    return made


@pytest.fixture(scope="package")
def exported(
    classifier: Classifier, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exports") / "export"
    write_export(str(folder), classifier, NAMES, PNGS, {})
    return folder
