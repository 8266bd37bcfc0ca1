"""Whole runs on TFDS data sets with unusual labels."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support import tfds_labels
from tests.support.command import arguments, command
from tests.support.runs import TINY, small
from tests.support.tiny import use_tiny_backbone

# TFDS knows the data set once the module is imported.
assert tfds_labels
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("config", "line", "tests"),
    [
        (
            "some_unlabelled",
            "data: 3 classes; train: 6 photos from the train split of"
            " trainer_labels/some_unlabelled; validation: 3 of the test photos;"
            " test: 3 photos from the test split of"
            " trainer_labels/some_unlabelled; 2 photos of each class; 5 records"
            " skipped, without a label: 2 train, 2 validation, 1 test\n",
            {"pie": 1, "ramen": 1, "sushi": 1},
        ),
        (
            "unused_names",
            "warning: 2 of 4 class names have no record and are left out:"
            " 'apple', 'bun'\n",
            {"pie": 1, "sushi": 1},
        ),
        (
            "untested_class",
            "warning: the test split has no record of 1 of 3 classes, so its"
            " results say nothing about them: 'ramen'\n",
            {"pie": 1, "ramen": 0, "sushi": 2},
        ),
        (
            "pixels",
            "data: 3 classes; train: 6 photos from the train split of"
            " trainer_labels/pixels",
            {"pie": 2, "ramen": 2, "sushi": 2},
        ),
        (
            "tensor",
            "1 record skipped, without a label: 1 train\n",
            {"0": 1, "1": 1},
        ),
    ],
)
def test_a_run_trains_on_the_labelled_records(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    line: str,
    tests: dict[str, int],
) -> None:
    use_tiny_backbone(monkeypatch)
    workdir = tmp_path / "run"
    flags = small(f"trainer_labels/{config}", workdir, **TINY)
    flags |= {"stage": "feature_extract", "tfds_data_dir": tmp_path / "tfds"}
    flags["augment"] = False
    del flags["head_epochs"]
    said = command(*arguments(flags))
    assert said.status == 0, said.err
    assert line in said.out
    result = json.loads((workdir / "result.json").read_text())
    assert result["test_per_class_support"] == tests
    again = command("--stage=evaluate", f"--workdir={workdir}")
    assert again.status == 0, again.err
    assert f"accuracy {result['test_accuracy']:.4f}" in again.out
