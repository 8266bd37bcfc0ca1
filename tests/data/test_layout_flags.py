"""Layouts in which flags name the splits."""

from __future__ import annotations

import pytest

from tests.support.trees import layout_of, shown
from trainer.errors import UsageError

GIVEN = {
    "unknown names": (
        ("{2019,2020}/{a,b}/1",),
        {"train": "2019", "test": "2020"},
        {"train": "2019: a b", "test": "2020: a b"},
        (),
    ),
    "only the test split": (
        ("{train,val,holdout}/{a,b}/1",),
        {"test": "holdout"},
        {
            "train": "train: a b",
            "validation": "val: a b",
            "test": "holdout: a b",
        },
        (),
    ),
    "the rest is left out": (
        ("{train,test,extra}/{a,b}/1",),
        {"train": "train"},
        {"train": "train: a b", "test": "test: a b"},
        ("extra",),
    ),
    "no test split": (
        ("{train,test}/{a,b}/1",),
        {"test": "none"},
        {"train": "train: a b"},
        ("test",),
    ),
    "one of two validation splits": (
        ("{train,val,valid}/{a,b}/1",),
        {"validation": "valid"},
        {"train": "train: a b", "validation": "valid: a b"},
        ("val",),
    ),
    "paths": (
        ("seg_train/seg_train/{a,b}/1", "seg_test/seg_test/{a,b}/1"),
        {"train": "seg_train/seg_train", "test": "seg_test/seg_test/"},
        {"train": "seg_train/seg_train: a b", "test": "seg_test/seg_test: a b"},
        (),
    ),
    "other case": (
        ("{One,Two}/{a,b}/1",),
        {"train": "one", "test": "TWO"},
        {"train": "One: a b", "test": "Two: a b"},
        (),
    ),
    "each folder is a class": (
        ("{2019,2020}/{a,b}/1",),
        {"train": "."},
        {"train": ": 2019 2020"},
        (),
    ),
    "classes beside a test split": (
        ("{a,b}/1", "mine/{a,b}/1"),
        {"train": ".", "test": "mine"},
        {"train": ": a b", "test": "mine: a b"},
        (),
    ),
    "in each class": (
        ("{cat,dog}/{old,new,junk}/1",),
        {"train": "*/old", "test": "*/NEW"},
        {"train": "*/old: cat dog", "test": "*/new: cat dog"},
        ("cat/junk", "dog/junk"),
    ),
    "in each class, one given": (
        ("{cat,dog}/{train,mine}/1",),
        {"test": "*/mine"},
        {"train": "*/train: cat dog", "test": "*/mine: cat dog"},
        (),
    ),
}


@pytest.mark.parametrize(
    ("paths", "names", "expected", "unused"), GIVEN.values(), ids=GIVEN
)
def test_flags_name_the_splits(
    paths: tuple[str, ...],
    names: dict[str, str],
    expected: dict[str, str],
    unused: tuple[str, ...],
) -> None:
    layout = layout_of(*paths, **names)
    assert shown(layout) == expected
    assert layout.unused == unused


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            {"train": "x"},
            "--train_split='x': no such folder in --dataset; there are 2019/"
            " and 2020/",
        ),
        (
            {"test": "2020"},
            "--test_split='2020': no folder looks like the training split;"
            " give --train_split too; there are 2019/",
        ),
        (
            {"train": "2019", "test": "2019/a"},
            "--test_split='2019/a': the train and the test split share images"
            " of 2019/a/; name folders that do not overlap",
        ),
        (
            {"train": "*/a", "test": "2020"},
            "--test_split='2020': not in each class folder, as another split"
            " is; give */2020",
        ),
    ],
    ids=str,
)
def test_wrong_names_are_usage_errors(names: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError) as error:
        layout_of("{2019,2020}/{a,b}/1", **names)
    assert str(error.value) == text
