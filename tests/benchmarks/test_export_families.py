"""The table of exports by family, without converting a model."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import numpy as np
import pytest

from benchmarks import export_families
from benchmarks.export_families import (
    COLUMNS,
    FAMILIES,
    fit_head,
    labels_of,
    main,
    table,
)
from benchmarks.models import random_classifier
from tools.xla_step import calibrate
from trainer.errors import UsageError
from trainer.model.backbone_table import BACKBONES
from trainer.results.format_check import accuracy_of

# By the start of the names: ResNet50 and ResNet152 are one family.
PREFIXES = {
    "ConvNeXt": "ConvNeXtTiny",
    "DenseNet": "DenseNet121",
    "EfficientNetB": "EfficientNetB0",
    "EfficientNetLite": "EfficientNetLite0",
    "EfficientNetV2": "EfficientNetV2B0",
    "InceptionResNetV2": "InceptionResNetV2",
    "InceptionV3": "InceptionV3",
    "MobileNet": "MobileNet",
    "MobileNetV2": "MobileNetV2",
    "MobileNetV3": "MobileNetV3Small",
    "NASNet": "NASNetMobile",
    "ResNet": "ResNet50",
    "VGG": "VGG16",
    "Xception": "Xception",
}
HEADS = "| backbone | px | original | saved_model | keras | tflite |"


def test_each_family_has_a_member():
    assert {*PREFIXES.values(), "ResNet50V2"} == set(FAMILIES)
    unknown = [n for n in BACKBONES if not n.startswith(tuple(PREFIXES))]
    assert unknown == []


def test_a_row_has_a_cell_per_format():
    cells = ["0.60", "0.60, 1e-05", "0.60, 2e-05", "no", "refused"]
    row = {"backbone": "VGG16", "image_px": 64, "cells": cells}
    heads, rule, line = table([row])
    assert heads.startswith(HEADS)
    assert rule == "|---" * 9 + "|"
    assert line == (
        "| VGG16 | 64 | 0.60 | 0.60, 1e-05 | 0.60, 2e-05 | no | refused |"
    )


def test_the_head_learns_the_classes():
    """Chance is 0.25; the accuracy is on images that it was not fitted to."""
    classifier = random_classifier("VGG16", 64, 4)
    train = export_families._images(0, 20, 64)
    test = export_families._images(1, 10, 64).astype(np.float32)
    calibrate(classifier, train.astype(np.float32))
    fit_head(classifier, train)
    for images, count, least in ((train, 20, 0.9), (test, 10, 0.9)):
        found = classifier.probabilities(images.astype(np.float32)).numpy()
        assert accuracy_of(found, labels_of(count), None) >= least


def test_a_failed_format_leaves_the_others(monkeypatch, capsys):
    def cell(
        classifier: Any,
        train: Any,
        test: Any,
        own: Any,
        name: str,
        quantize: str,
    ) -> str:
        if name == "keras":
            raise ValueError("cannot be saved")
        return "0.60, 1e-06"

    def check(formats: tuple[str, ...], backbone: str) -> None:
        if formats == ("onnx",):
            raise UsageError("--export_formats=onnx: does not work")

    monkeypatch.setattr(export_families, "_cell", cell)
    monkeypatch.setattr(export_families, "_TRAIN", 2)
    monkeypatch.setattr(export_families, "_TEST", 1)
    monkeypatch.setattr(export_families, "check_backbone", check)
    monkeypatch.setattr("sys.argv", ["export_families", "--one=MobileNetV2"])
    main()
    said = capsys.readouterr()
    row = json.loads(said.out)
    assert (row["backbone"], row["image_px"]) == ("MobileNetV2", 64)
    found = "0.60, 1e-06"
    assert row["cells"][1:] == [found, "no", found, found, found, "refused"]
    assert row["cells"][0] in ("0.00", "0.25", "0.50", "0.75", "1.00")
    assert "keras: cannot be saved" in said.err


@pytest.mark.parametrize(
    ("status", "cell"), [(0, "1e-06"), (1, "crashed")], ids=["done", "crashed"]
)
def test_each_backbone_has_a_process(monkeypatch, capsys, status, cell):
    asked = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(command[-1])
        row = {"backbone": "VGG16", "image_px": 64, "cells": ["1e-06"] * 7}
        said = f"a note\n{json.dumps(row)}\n".encode()
        return subprocess.CompletedProcess(command, status, said)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("sys.argv", ["export_families", "--backbones=VGG16"])
    main()
    assert asked == ["--one=VGG16"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split(" | ")[2:] == [cell] * len(COLUMNS) + [f"{cell} |"]
