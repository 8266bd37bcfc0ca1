"""Wrong paths and names are found before TensorFlow is imported."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from trainer.model.backbone_table import BACKBONES
from trainer.model.backbones import backbone_names

# Prints the message of each configuration's error, and what was imported.
_PROGRAM = """
import json, sys
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run.early import check_paths
found = []
for values in json.loads(sys.argv[1]):
    try:
        check_paths(Config(**values))
        found.append("")
    except TrainerError as error:
        found.append(str(error))
heavy = [m for m in ("tensorflow", "keras", "scipy") if m in sys.modules]
print(json.dumps([found, heavy]))
"""
_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "workdir": (
        {"stage": "evaluate", "workdir": "{root}/none"},
        "--workdir='{root}/none': no such folder",
    ),
    "workdir of report": (
        {"stage": "report", "workdir": "{root}/none"},
        "--workdir='{root}/none': no such folder",
    ),
    "init_from": (
        {"stage": "finetune", "dataset": "demo", "init_from": "{root}/none"},
        "--init_from='{root}/none': no such folder",
    ),
    "backbone": (
        {"stage": "finetune", "dataset": "demo", "backbone": "MobilNetV2"},
        "--backbone='MobilNetV2': no such backbone (did you mean MobileNetV2",
    ),
    "inputs": (
        {"stage": "predict", "workdir": "{root}", "inputs": "{root}/*.jpg"},
        "--inputs='{root}/*.jpg': no such file",
    ),
    "no data set": (
        {"stage": "finetune", "dataset": "{root}/none"},
        "--dataset='{root}/none': no such folder",
    ),
    "empty data set": (
        {"stage": "check_data", "dataset": "{root}/empty"},
        "--dataset='{root}/empty': no class folders in it",
    ),
    "a TFDS name": ({"stage": "finetune", "dataset": "tf_flowers"}, ""),
    "a data set": ({"stage": "finetune", "dataset": "{root}"}, ""),
    "URLs": (
        {"stage": "predict", "workdir": "gs://a/b", "inputs": "gs://a/*.jpg"},
        "",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The message of each case, "" for none."""
    root = tmp_path_factory.mktemp("early")
    (root / "empty").mkdir()
    text = json.dumps([values for values, _ in _CASES.values()])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, text.replace("{root}", str(root))],
        cwd=pathlib.Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    found, heavy = json.loads(done.stdout)
    assert heavy == []
    return {
        name: message.replace(str(root), "{root}")
        for name, message in zip(_CASES, found, strict=True)
    }


@pytest.mark.parametrize("name", _CASES)
def test_the_error_comes_early(said: dict[str, str], name: str) -> None:
    expected = _CASES[name][1]
    assert said[name].startswith(expected)
    assert bool(said[name]) == bool(expected)


def test_the_table_has_the_backbones_of_this_keras() -> None:
    assert sorted(BACKBONES) == list(backbone_names())
