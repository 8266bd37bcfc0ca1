"""Errors about folders of photos that cannot be used."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.images import make_folder, write_image
from trainer.data.folder import open_folder
from trainer.errors import TrainerError


def _empty_class(root: pathlib.Path) -> None:
    make_folder(root)
    (root / "test" / "pie").mkdir()
    (root / "test" / "pie" / "x.tiff").touch()
    write_image(root / "train" / "pie" / "x.jpg")


def _two_forms_of_a_class(root: pathlib.Path) -> None:
    make_folder(root, {"": 2}, classes=("e\u0301", "\u00e9"))


def _two_forms_of_a_file(root: pathlib.Path) -> None:
    make_folder(root)
    write_image(root / "train" / "sushi" / "e\u0301.jpg")
    write_image(root / "train" / "sushi" / "\u00e9.jpg")


def _other_classes(root: pathlib.Path) -> None:
    make_folder(root, {"train": 1}, classes=("a", "b", "c"))
    make_folder(root, {"test": 1}, classes=("b", "d"))


def _fewer_classes(root: pathlib.Path) -> None:
    make_folder(root, {"train": 1, "test": 1}, classes=("a", "b", "c"))
    make_folder(root, {"val": 1}, classes=("a", "b"))


_HINT = "give a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(
            lambda root: root.mkdir(),
            f"--dataset='photos': no class folders in it; {_HINT}",
            id="empty",
        ),
        pytest.param(
            lambda root: (root / "train").mkdir(parents=True),
            f"--dataset='photos': no class folders in train/; {_HINT}",
            id="empty_train",
        ),
        pytest.param(
            lambda root: write_image(root / "x.jpg"),
            f"--dataset='photos': no class folders in it; {_HINT}",
            id="loose_photos",
        ),
        pytest.param(
            lambda root: make_folder(root, classes=("pie",)),
            "--dataset='photos': one class only, 'pie'; classifying needs two"
            " or more: add a class folder with images to train/ and test/",
            id="one_class",
        ),
        pytest.param(
            _empty_class,
            "--dataset='photos': class 'pie' in test/ has no image (.jpg,"
            " .jpeg, .png, .bmp, .gif, .webp), only 1 .tiff; add some, or"
            " remove the class from train/ and test/ alike",
            id="class_without_images",
        ),
        pytest.param(
            lambda root: make_folder(root, {"": 1}),
            "--dataset='photos': class 'apple pie' has 1 image; without a"
            " test split each class needs two, one to train and one to test"
            " on: add images, or remove the class",
            id="one_image",
        ),
        pytest.param(
            _other_classes,
            "--dataset='photos': test/ lacks 'a', 'c' and also has 'd',"
            " compared with train/; give train/ and test/ the same class"
            " folders, each with images",
            id="other_classes",
        ),
        pytest.param(
            _fewer_classes,
            "--dataset='photos': val/ lacks 'c', compared with train/; give"
            " train/, val/ and test/ the same class folders, each with"
            " images",
            id="fewer_classes",
        ),
        pytest.param(
            lambda root: make_folder(root, {"train": 1, "val": 1, "valid": 1}),
            "--dataset='photos': more than one validation split: val/,"
            " valid/; keep one of them, or name it with --val_split=val",
            id="two_validation_splits",
        ),
        pytest.param(
            _two_forms_of_a_class,
            "--dataset='photos': two folders of class 'é' in it,"
            r" 'e\u0301' and '\xe9': the same name in two Unicode forms;"
            " merge them",
            id="class_in_two_unicode_forms",
        ),
        pytest.param(
            _two_forms_of_a_file,
            "--dataset='photos': 'ROOT/train/sushi/e\\u0301.jpg' and"
            " 'ROOT/train/sushi/\\xe9.jpg': the same name in two Unicode"
            " forms; rename one",
            id="file_in_two_unicode_forms",
        ),
    ],
)
def test_a_bad_folder_is_rejected_with_a_remedy(
    tmp_path: pathlib.Path, make: Callable[[pathlib.Path], object], text: str
) -> None:
    root = tmp_path / "root"
    make(root)
    if "two Unicode" in text and not _keeps_unicode_forms(tmp_path):
        pytest.skip("the file system unifies Unicode forms")
    with pytest.raises(TrainerError) as error:
        open_folder(str(root), dataset="photos", test_fraction=0.2)
    assert str(error.value) == text.replace("ROOT", str(root))
    assert error.value.exit_status == 1


def _keeps_unicode_forms(folder: pathlib.Path) -> bool:
    (folder / "e\u0301").touch()
    return not (folder / "\u00e9").exists()


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(tmp_path)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("sushi"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    path = re.escape(str(tmp_path / "train" / "sushi"))
    with pytest.raises(
        TrainerError, match=rf"{path}: cannot be listed \(Permission denied\)"
    ):
        open_folder(str(root), dataset="photos", test_fraction=0.2)
