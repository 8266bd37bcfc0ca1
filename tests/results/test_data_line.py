"""The line about the data of a run, and its warnings."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from trainer.config import Config
from trainer.data.passed_over import PassedOver
from trainer.results.data_line import DataFacts, data_line, data_warnings

ORIGINS = {
    "train": "photos/train/",
    "validation": "photos/val/",
    "test": "photos/test/",
}


def facts(**changes: Any) -> DataFacts:
    """Returns facts without anything to warn of."""
    values: dict[str, Any] = {
        "class_names": ("pie", "sushi"),
        "train": (300, 300),
        "train_total": 600,
        "validation": (60, 60),
        "validation_source": "split",
        "final": (60, 60),
        "final_split": "test",
        "origins": ORIGINS,
        "groups": 0,
        "skipped": 0,
        "bad_rows": 0,
        "passed_over": PassedOver(),
        "notes": (),
        **changes,
    }
    for name in ("train", "validation", "final"):
        values[name] = np.array(values[name])
    return DataFacts(**values)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param(
            {"labelled": (500, 100, 110)},
            "data: 2 classes; 1.20 labels per training photo; train: 500 of"
            " 600 photos from photos/train/; validation: 100 photos from"
            " photos/val/; test: 110 photos from photos/test/; 300 photos of"
            " each class",
            id="several_labels",
        ),
        pytest.param(
            {},
            "data: 2 classes; train: 600 photos from photos/train/;"
            " validation: 120 photos from photos/val/; test: 120 photos from"
            " photos/test/; 300 photos of each class",
            id="three_splits",
        ),
        pytest.param(
            {
                "train": (350, 4),
                "train_total": 354,
                "validation": (20, 2),
                "validation_source": "test",
                "final": (87, 1),
                "origins": {
                    "train": "photos/",
                    "test": "held out from photos/",
                },
            },
            "data: 2 classes; train: 354 photos from photos/; validation: 22"
            " of the test photos; test: 88 photos held out from photos/;"
            " smallest class sushi with 4, largest pie with 350",
            id="held_out",
        ),
        pytest.param(
            {
                "train": (1200, 900),
                "train_total": 4000,
                "validation": (120, 90),
                "validation_source": "train",
                "final_split": "held_out",
                "skipped": 1,
                "passed_over": PassedOver(
                    counts={
                        "outside the class folders": {".jpg": 1},
                        "not an image": {".heic": 13, ".tiff": 20},
                    }
                ),
            },
            "data: 2 classes; train: 2,100 of 4,000 photos from photos/train/;"
            " validation: 210 photos, held out from the training photos; test:"
            " not read; smallest class sushi with 900, largest pie with 1,200;"
            " 1 unreadable photo left out; 33 files skipped: 20 .tiff, 13"
            " .heic; 1 file skipped, outside the class folders: 1 .jpg",
            id="left_out",
        ),
        pytest.param(
            {
                "origins": {
                    "train": "d.csv",
                    "validation": "d.csv",
                    "test": "held out from d.csv",
                },
                "groups": 1200,
                "skipped": 2,
                "bad_rows": 1,
            },
            "data: 2 classes; train: 600 photos from d.csv; validation: 120"
            " photos from d.csv; test: 120 photos held out from d.csv; 300"
            " photos of each class; 1,200 groups of training photos; 1"
            " unusable row left out; 2 unreadable photos left out",
            id="table",
        ),
        pytest.param(
            {
                "class_names": ("pie", "su\x1bshi"),
                "train": (7, 6),
                "train_total": 26,
                "validation": (7, 6),
                "validation_source": "fold 2 of 5",
                "final_split": "validation",
                "origins": {},
            },
            "data: 2 classes; train: 13 of 26 photos; validation: 13 photos,"
            " fold 2 of 5 of the training photos; test: none, so the results"
            " are of the validation photos; smallest class su\\x1bshi with 6,"
            " largest pie with 7",
            id="fold",
        ),
    ],
)
def test_line_says_what_is_trained_on(
    changes: dict[str, Any], line: str
) -> None:
    assert data_line(facts(**changes)) == line


def test_rare_suffixes_are_summed_up() -> None:
    counts = {f".x{i}": 9 - i for i in range(8)}
    over = PassedOver(counts={"not an image": counts})
    assert over.total() == 44
    assert list(over.lines()) == [
        "44 files skipped: 9 .x0, 8 .x1, 7 .x2, 6 .x3, 5 .x4, 4 .x5, 5 others"
    ]


def warned(changes: dict[str, Any], **flags: Any) -> list[str]:
    return list(data_warnings(facts(**changes), Config(**flags)))


def test_one_shot_is_no_class_of_one() -> None:
    assert warned({"train": (1, 1)}, shots=1) == []


def test_good_data_gives_no_warning() -> None:
    assert warned({}) == []
    assert warned({"validation": (97, 3)}) == []
    assert warned({"train": (60, 60), "train_total": 120}) == []
    # A small subset of train is no smaller split.
    assert warned({"train": (30, 29)}, data_pct=10.0) == []
    assert warned({"train": (2, 2), "final": (2, 2)}, data_pct=0.5) == []


@pytest.mark.parametrize(
    ("changes", "flags", "line"),
    [
        pytest.param(
            {"validation": (50, 49)},
            {},
            "only 99 validation photos in all, so validation accuracy"
            " varies by chance; add photos, or compare by"
            " --validation=kfold:5",
            id="few_validation",
        ),
        pytest.param(
            {"validation": (98, 2), "validation_source": "test"},
            {},
            "only 2 validation photos of sushi, so validation accuracy"
            " varies by chance; --validation_fraction=1 uses all test"
            " photos",
            id="few_validation_of_a_class",
        ),
        pytest.param(
            {"validation": (50, 49), "validation_source": "test"},
            {},
            "only 99 validation photos in all, so validation accuracy"
            " varies by chance; --validation_fraction=1 uses all test photos",
            id="few_validation_of_the_test_photos",
        ),
        pytest.param(
            {
                "validation": (50, 49),
                "final": (50, 49),
                "validation_source": "test",
            },
            {},
            "only 99 validation photos in all, so validation accuracy"
            " varies by chance; add photos, or compare by"
            " --validation=kfold:5",
            id="few_test_photos",
        ),
        pytest.param(
            {"validation": (50, 49), "validation_source": "fold 2 of 5"},
            {},
            "only 99 validation photos in all, so validation accuracy"
            " varies by chance; add photos",
            id="few_validation_of_a_fold",
        ),
        pytest.param(
            {"validation": (50, 49), "final_split": "held_out"},
            {},
            "only 99 validation photos in all, so validation accuracy"
            " varies by chance; add photos",
            id="few_validation_of_a_search",
        ),
        pytest.param(
            {"train": (300, 1)},
            {},
            "one training photo only in sushi; add photos, or remove the class",
            id="class_of_one",
        ),
        pytest.param(
            {"train": (30, 1)},
            {"data_pct": 1.0},
            "one training photo only in sushi; --data_pct is 1 %; add photos,"
            " or use more",
            id="class_of_one_in_a_subset",
        ),
        pytest.param(
            {"train": (1, 1), "final": (1, 1)},
            {"data_pct": 0.1},
            "one training photo only in 2 of 2 classes, because --data_pct is"
            " 0.1 %; 10 % is --data_pct=10",
            id="fraction_as_percentage",
        ),
        pytest.param(
            {"train": (59, 60), "train_total": 119},
            {},
            "120 test photos are more than the 119 training photos; if"
            " the folders are exchanged, name them by --train_split and"
            " --test_split",
            id="test_larger_than_train",
        ),
        pytest.param(
            {
                "train": (59, 60),
                "train_total": 119,
                "origins": {"test": "held out from photos/"},
            },
            {"test_fraction": 0.6},
            "120 test photos are more than the 119 training photos; give a"
            " smaller --test_fraction",
            id="test_fraction_over_half",
        ),
        pytest.param(
            {
                "train": (59, 60),
                "train_total": 119,
                "origins": {"train": "d.csv", "test": "d.csv"},
            },
            {},
            "120 test photos are more than the 119 training photos; check the"
            " column of splits",
            id="test_larger_than_train_in_a_table",
        ),
        pytest.param(
            {"notes": ("test/ is a class",)},
            {},
            "test/ is a class",
            id="note",
        ),
        pytest.param(
            {},
            {"weights": "none", "backbone": "VGG16", "unfreeze": "last:10"},
            "--weights=none without --unfreeze=all: frozen layers keep their"
            " random weights and never learn; give --weights=imagenet,"
            " or --stage=finetune --unfreeze=all; without"
            " a network, --backbone=EfficientNetLite0 has ImageNet weights on"
            " this machine",
            id="dead_network",
        ),
        pytest.param(
            {},
            {
                "weights": "none",
                "backbone": "EfficientNetLite0",
                "stage": "feature_extract",
            },
            "--weights=none without --unfreeze=all: frozen layers keep their"
            " random weights and never learn; give --weights=imagenet,"
            " or --stage=finetune --unfreeze=all",
            id="dead_network_of_a_head",
        ),
    ],
)
def test_doubtful_data_gives_one_line(
    changes: dict[str, Any], flags: dict[str, Any], line: str
) -> None:
    assert warned(changes, **flags) == [line]


@pytest.mark.parametrize(
    "flags",
    [
        {"unfreeze": "all"},
        {"unfreeze": "none@5,all@10"},
        {"unfreeze": "last:10", "init_from": "run"},
    ],
    ids=str,
)
def test_random_weights_that_train_are_no_dead_network(
    flags: dict[str, Any],
) -> None:
    assert warned({}, weights="none", backbone="VGG16", **flags) == []


def test_layout_and_line_do_not_import_tensorflow() -> None:
    code = (
        "import sys, trainer.data.folder, trainer.results.data_line;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False).returncode
        == 0
    )
