"""Exports one small member of each family of backbones in every format.

    python -m benchmarks.export_families

Backbone weights are random, and the moving statistics of BatchNorm come from
one batch. The head is fitted to tinted images of four classes. Each backbone is
converted in its own process, because converters do not return all memory. Each
cell is the accuracy on other images and the largest difference of a probability
from the original's, or what failed. int8 is calibrated on training images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.models import random_classifier
from tools.xla_step import calibrate
from trainer.config.export_formats import check_backbone
from trainer.config.fields import (
    FLOAT16,
    INT8,
    KERAS_FORMAT,
    NONE,
    ONNX,
    SAVED_MODEL,
    TFLITE,
)
from trainer.errors import TrainerError
from trainer.model.backbones import find_backbone
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocess
from trainer.results.export import Formats, write_export
from trainer.results.export_files import MODELS
from trainer.results.format_check import accuracy_of, largest_difference
from trainer.results.format_runners import FormatJob, run_format

__all__ = ["FAMILIES", "main", "table"]

FAMILIES = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetLite0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
)
COLUMNS = (
    (SAVED_MODEL, NONE),
    (KERAS_FORMAT, NONE),
    (TFLITE, NONE),
    (TFLITE, FLOAT16),
    (TFLITE, INT8),
    (ONNX, NONE),
)
_SMALL_PX = 64
# The mean colour of each class; the noise makes some images look like others.
_TINTS = ((150, 110, 110), (110, 150, 110), (110, 110, 150), (125, 125, 125))
_NOISE = 15
_TRAIN, _TEST = 40, 25  # Images per class.
# Of the squared weights, relative to the features' variance.
_RIDGE = 0.1
# Makes the probabilities of the least-squares head far from uniform.
_SHARPNESS = 10.0


def _images(seed: int, count: int, image_px: int) -> np.ndarray:
    """Returns smooth random images, tinted by class.

    Args:
      seed: of the images.
      count: number of images of each class.
      image_px: side of the images.

    Returns:
      uint8 (classes * count, px, px, 3), by class.
    """
    rng = np.random.default_rng(seed)
    tints = np.repeat(_TINTS, count, axis=0)[:, np.newaxis, np.newaxis]
    coarse = rng.normal(tints, _NOISE, (len(tints), 4, 4, 3))
    images = tf.image.resize(coarse.clip(0, 255), (image_px, image_px))
    return np.rint(images.numpy()).astype(np.uint8)


def labels_of(count: int) -> np.ndarray:
    """Returns the label of each of `count` images per class, int (n,)."""
    return np.repeat(np.arange(len(_TINTS)), count)


def fit_head(classifier: Classifier, images: np.ndarray) -> None:
    """Fits the head by least squares to one-hot labels, with a ridge.

    Args:
      classifier: its head is changed.
      images: uint8 (n, px, px, 3), the same number of each class in order.
    """
    head = classifier.head
    model = keras.Model(classifier.model.input, head.input)
    pixels = preprocess(images.astype(np.float32), classifier.pixels)
    features = np.asarray(model.predict(pixels, verbose=0), np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    scaled = (features - mean) / deviation
    targets = np.eye(len(_TINTS))[labels_of(len(images) // len(_TINTS))]
    # In its dual form, as there are more channels than images.
    gram = scaled @ scaled.T / scaled.shape[1]
    dual = np.linalg.solve(
        gram + _RIDGE * np.eye(len(gram)), targets - targets.mean(axis=0)
    )
    kernel = scaled.T @ dual / scaled.shape[1] / deviation[:, np.newaxis]
    bias = targets.mean(axis=0) - mean @ kernel
    head.kernel.assign(_SHARPNESS * kernel)
    head.bias.assign(_SHARPNESS * bias)


def _cell(
    classifier: Classifier,
    train: np.ndarray,
    test: np.ndarray,
    own: np.ndarray,
    name: str,
    quantize: str,
) -> str:
    """Returns the cell of a format; `own` are the original's probabilities."""
    png = tf.io.encode_png(train[0]).numpy()
    with tempfile.TemporaryDirectory() as held:
        out = os.path.join(held, "export")
        formats = Formats((name,), quantize, train)
        names = [f"class {number}" for number in range(len(_TINTS))]
        write_export(out, classifier, names, [png], {}, formats=formats)
        path = os.path.join(held, "images.npy")
        np.save(path, test)
        answers = os.path.join(held, "answers.npy")
        run_format(FormatJob(name, f"{out}/{MODELS[name]}", path, answers))
        found = np.load(answers)
    accuracy = accuracy_of(found, labels_of(_TEST), None)
    return f"{accuracy:.2f}, {largest_difference(own, found):.0e}"


def _cells(backbone: str) -> dict[str, Any]:
    """Returns the row of a backbone."""
    image_px = max(find_backbone(backbone).min_image_px, _SMALL_PX)
    classifier = random_classifier(backbone, image_px, len(_TINTS))
    train = _images(0, _TRAIN, image_px)
    test = _images(1, _TEST, image_px)
    calibrate(classifier, train.astype(np.float32))
    fit_head(classifier, train)
    own = classifier.probabilities(test.astype(np.float32)).numpy()
    cells = [f"{accuracy_of(own, labels_of(_TEST), None):.2f}"]
    for name, quantize in COLUMNS:
        try:
            check_backbone((name,), backbone)
            cell = _cell(classifier, train, test, own, name, quantize)
            cells.append(cell)
        except TrainerError as error:
            print(f"{backbone}: {error}", file=sys.stderr)
            cells.append("refused" if "does not work" in str(error) else "no")
        except Exception as error:
            # The runtimes raise many types.
            print(f"{backbone}: {name}: {error}", file=sys.stderr)
            cells.append("no")
    return {"backbone": backbone, "image_px": image_px, "cells": cells}


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the lines of a Markdown table."""
    heads = ["original"] + [
        name if quantize == NONE else f"{name} {quantize}"
        for name, quantize in COLUMNS
    ]
    yield f"| backbone | px | {' | '.join(heads)} |"
    yield "|---" * (2 + len(heads)) + "|"
    for row in rows:
        cells = " | ".join(row["cells"])
        yield f"| {row['backbone']} | {row['image_px']} | {cells} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default=",".join(FAMILIES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_cells(args.one)))
        return
    rows = []
    for name in args.backbones.split(","):
        command = [sys.executable, "-m", "benchmarks.export_families"]
        said = subprocess.run(
            [*command, f"--one={name}"], stdout=subprocess.PIPE, check=False
        )
        if said.returncode:
            crashed = ["crashed"] * (1 + len(COLUMNS))
            rows.append({"backbone": name, "image_px": "?", "cells": crashed})
            continue
        rows.append(json.loads(said.stdout.splitlines()[-1]))
        print(list(table(rows))[-1], file=sys.stderr, flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
