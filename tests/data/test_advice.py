"""Errors about folders of photos; following their advice resolves them."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.advice import (
    DATA,
    Case,
    Given,
    added,
    check,
    emptied,
    merged,
    moved,
    parameters,
    photos,
    removed,
    setting,
    spoilt,
    then,
)

TRAIN_TEST = {"train": 3, "test": 2}
ALL_THREE = {"train": 3, "val": 2, "test": 2}


def _unlistable(given: Given) -> None:
    """Makes one folder unlistable, even for root."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("train/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    given.patch.setattr(os, "scandir", refuse)


SUFFIXES = "(.jpg, .jpeg, .png, .bmp, .gif, .webp)"
LAYOUTS = "give a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"

FOLDERS = (
    Case(
        "nothing at all",
        lambda given: given.photos.mkdir(),
        (f"no class folders in it; {LAYOUTS}",),
        (photos(flat=3), photos(train=3), photos(train=3, test=2)),
    ),
    Case(
        "loose photos",
        added("1.jpg", "2.jpg", "3.jpg", "4.jpg"),
        (f"no class folders in it; {LAYOUTS}",),
        (
            then(
                moved("1.jpg", "a/1.jpg"),
                moved("2.jpg", "a/2.jpg"),
                moved("3.jpg", "b/3.jpg"),
                moved("4.jpg", "b/4.jpg"),
            ),
        ),
    ),
    Case(
        "no classes to train on",
        lambda given: (given.photos / "train").mkdir(parents=True),
        (f"no class folders in train/; {LAYOUTS}",),
        (photos(train=3), photos(train=3, test=2)),
    ),
    Case(
        "no classes to test on",
        then(photos(**TRAIN_TEST), emptied("test")),
        ("no class folders in test/; add those of train/, each with images",),
        (photos(test=1),),
    ),
    Case(
        "no classes to validate on",
        then(photos(**ALL_THREE), emptied("val")),
        ("no class folders in val/; add those of train/, each with images",),
        (photos(val=1),),
    ),
    Case(
        "one class in splits",
        photos(classes=("a",), **ALL_THREE),
        ("add a class folder with images to train/, val/ and test/",),
        (added("train/b/1.jpg", "val/b/2.jpg", "test/b/3.jpg"),),
    ),
    Case(
        "one class to train on",
        photos(classes=("a",), train=3),
        ("add a class folder with two or more images to train/",),
        (added("train/b/1.jpg", "train/b/2.jpg"),),
    ),
    Case(
        "one class",
        photos(classes=("a",), flat=3),
        ("add a class folder with two or more images to it",),
        (added("b/1.jpg", "b/2.jpg"),),
    ),
    Case(
        "a class without images to test on",
        then(photos(**TRAIN_TEST), emptied("test/b")),
        (
            f"class 'b' in test/ has no image {SUFFIXES}; add some, or remove"
            " the class from train/ and test/ alike",
        ),
        (added("test/b/1.jpg"), removed("train/b", "test/b")),
    ),
    Case(
        "a class without images to train on",
        then(photos(**ALL_THREE), emptied("train/b")),
        ("or remove the class from train/, val/ and test/ alike",),
        (added("train/b/1.jpg"), removed("train/b", "val/b", "test/b")),
    ),
    Case(
        "one of two classes without images",
        then(photos(classes=("a", "b"), **TRAIN_TEST), emptied("test/b")),
        (f"class 'b' in test/ has no image {SUFFIXES}; add some",),
        (added("test/b/1.jpg"),),
    ),
    Case(
        "a class without images",
        then(photos(flat=3), emptied("b")),
        (
            f"class 'b' in it has no image {SUFFIXES}; add some, or remove the"
            " class",
        ),
        (added("b/1.jpg", "b/2.jpg"), removed("b")),
    ),
    Case(
        "a class of one image",
        then(photos(flat=3), removed("b/000.jpg", "b/001.jpg")),
        ("class 'b' has 1 image;", "add images, or remove the class"),
        (added("b/1.jpg", "b/3.jpg"), removed("b")),
    ),
    Case(
        "one of two classes of one image",
        then(
            photos(classes=("a", "b"), train=3),
            removed("train/b/000.jpg", "train/b/001.jpg"),
        ),
        ("class 'b' has 1 image;", "one to test on: add images"),
        (added("train/b/1.jpg"),),
    ),
    Case(
        "a class that is not tested on",
        then(photos(**TRAIN_TEST), removed("test/b")),
        (
            "test/ lacks 'b', compared with train/; give train/ and test/ the"
            " same class folders, each with images",
        ),
        (added("test/b/1.jpg"), removed("train/b")),
    ),
    Case(
        "a class that is only validated on",
        then(photos(**ALL_THREE), added("val/d/1.jpg")),
        (
            "val/ also has 'd', compared with train/; give train/, val/ and"
            " test/ the same class folders, each with images",
        ),
        (added("train/d/2.jpg", "test/d/3.jpg"), removed("val/d")),
    ),
    Case(
        "two validation splits",
        photos(train=3, val=2, valid=2),
        ("val/, valid/; keep one of them",),
        (removed("val"), removed("valid")),
    ),
    Case(
        "a class in two Unicode forms",
        then(photos(flat=3), added("e\u0301/1.jpg", "\xe9/1.jpg")),
        ("the same name in two Unicode forms; merge them",),
        (merged("e\u0301", "\xe9"), merged("\xe9", "e\u0301")),
    ),
    Case(
        "a file in two Unicode forms",
        then(photos(flat=3), added("a/e\u0301.jpg", "a/\xe9.jpg")),
        ("the same name in two Unicode forms; rename one",),
        (moved("a/\xe9.jpg", "a/e.jpg"),),
    ),
    Case(
        "a folder that cannot be listed",
        then(photos(**TRAIN_TEST), _unlistable),
        ("cannot be listed (Permission denied); give a folder that can",),
        (lambda given: given.patch.undo(),),
    ),
    Case(
        "no such folder",
        setting(dataset="{root}/nowhere"),
        (f"no such folder; {LAYOUTS} or a TFDS name",),
        (
            then(photos(flat=3), setting(dataset="{root}/photos")),
            setting(dataset=DATA),
        ),
    ),
    Case(
        "a file",
        then(photos(flat=3), setting(dataset="{root}/photos/a/000.jpg")),
        (f"a file; {LAYOUTS}",),
        (setting(dataset="{root}/photos"),),
    ),
)
IMAGES = (
    Case(
        "a bad image",
        then(photos(**TRAIN_TEST), spoilt("train/b/001.jpg")),
        ("remove it, or --on_bad_image=skip",),
        (
            added("train/b/001.jpg"),
            removed("train/b/001.jpg"),
            setting(on_bad_image="skip"),
        ),
    ),
    Case(
        "only bad images in a class",
        then(
            photos(train=2, test=2),
            spoilt("train/b/000.jpg", "train/b/001.jpg"),
            setting(on_bad_image="skip"),
        ),
        (
            "class 'b': no readable image in the train split",
            "replace the unreadable images, or remove every folder of the",
        ),
        (
            added("train/b/000.jpg", "train/b/001.jpg"),
            removed("train/b", "test/b"),
        ),
    ),
    Case(
        "only bad images in one of two classes",
        then(
            photos(classes=("a", "b"), flat=2),
            spoilt("b/000.jpg", "b/001.jpg"),
            setting(on_bad_image="skip"),
        ),
        ("class 'b': no readable image", "replace the unreadable images"),
        (added("b/000.jpg", "b/001.jpg"),),
    ),
)


@pytest.mark.parametrize(("case", "number"), parameters((*FOLDERS, *IMAGES)))
def test_advice_about_folders_resolves_the_error(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    number: int,
) -> None:
    if case.name.endswith("Unicode forms"):
        (tmp_path / "e\u0301").touch()
        if (tmp_path / "\xe9").exists():
            pytest.skip("the file system unifies Unicode forms")
    check(case, number, Given(tmp_path, monkeypatch))
