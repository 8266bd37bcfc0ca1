"""Exports one small member of each family of backbones in every format.

    python -m benchmarks.export_families

Weights are random, and the moving statistics of BatchNorm come from one batch,
so the table says which formats work, not how accurate int8 is. Each backbone is
converted in its own process, because converters do not return all memory. Each
cell is the largest difference of a probability from the original's, on 16
smooth images, or what failed. int8 is calibrated on the same images.
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
from trainer.results.export import Formats, write_export
from trainer.results.export_files import MODELS
from trainer.results.format_check import largest_difference
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
_SMALL_PX, _CLASSES, _IMAGES = 64, 4, 16


def _images(image_px: int) -> np.ndarray:
    """Returns smooth images, uint8 (n, px, px, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (_IMAGES, 4, 4, 3)).astype(np.float32)
    images = tf.image.resize(coarse, (image_px, image_px))
    return np.rint(images.numpy()).astype(np.uint8)


def _difference(
    classifier: Classifier, images: np.ndarray, name: str, quantize: str
) -> str:
    """Returns the cell of a format."""
    own = classifier.probabilities(images.astype(np.float32)).numpy()
    png = tf.io.encode_png(images[0]).numpy()
    classes = [f"class {number}" for number in range(_CLASSES)]
    with tempfile.TemporaryDirectory() as held:
        out = os.path.join(held, "export")
        formats = Formats((name,), quantize, images)
        write_export(out, classifier, classes, [png], {}, formats=formats)
        path = os.path.join(held, "images.npy")
        np.save(path, images)
        answers = os.path.join(held, "answers.npy")
        run_format(FormatJob(name, f"{out}/{MODELS[name]}", path, answers))
        return f"{largest_difference(own, np.load(answers)):.0e}"


def _cells(backbone: str) -> dict[str, Any]:
    """Returns the row of a backbone."""
    image_px = max(find_backbone(backbone).min_image_px, _SMALL_PX)
    classifier = random_classifier(backbone, image_px, _CLASSES)
    images = _images(image_px)
    calibrate(classifier, images.astype(np.float32))
    # Otherwise the probabilities of random features hardly differ.
    classifier.head.kernel.assign(classifier.head.kernel * 5)
    cells = []
    for name, quantize in COLUMNS:
        try:
            check_backbone((name,), backbone)
            cells.append(_difference(classifier, images, name, quantize))
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
    heads = [
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
            crashed = ["crashed"] * len(COLUMNS)
            rows.append({"backbone": name, "image_px": "?", "cells": crashed})
            continue
        rows.append(json.loads(said.stdout.splitlines()[-1]))
        print(list(table(rows))[-1], file=sys.stderr, flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
