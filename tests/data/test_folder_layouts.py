"""Folders on disk whose layout is detected or named by flags."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from tests.support.images import make_folder, write_image
from trainer.config.split_names import SplitNames
from trainer.data import scanned_folder
from trainer.data.folder import open_folder
from trainer.data.samples import Source
from trainer.errors import TrainerError
from trainer.workdir import workdir

CLASSES = ("a", "b")


def open_it(root: pathlib.Path, **names: str) -> Source:
    return open_folder(
        str(root),
        dataset=str(root),
        test_fraction=0.5,
        names=SplitNames(**names),
    )


def class_first(root: pathlib.Path) -> None:
    """Writes a/train/0.jpg, a/test/0.jpg and so on."""
    for name in CLASSES:
        for split in ("train", "Test"):
            write_image(root / name / split / "0.jpg")


def test_class_first_images_keep_their_split(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "pets"
    class_first(root)
    write_image(root / "a" / "loose.png")
    with pytest.raises(TrainerError, match="a/ holds other images too;"):
        open_it(root)
    (root / "a" / "loose.png").unlink()
    source = open_it(root)
    assert source.class_names == CLASSES
    assert source.train.ids == ("a/0.jpg", "b/0.jpg")
    assert source.test is not None
    assert source.test.paths == (
        str(root / "a/Test/0.jpg"),
        str(root / "b/Test/0.jpg"),
    )
    assert source.origins == {"train": "pets/*/train/", "test": "pets/*/Test/"}


def test_class_first_splits_must_hold_the_same_classes(
    tmp_path: pathlib.Path,
) -> None:
    class_first(tmp_path)
    (tmp_path / "b/Test/0.jpg").unlink()
    (tmp_path / "b/Test").rmdir()
    with pytest.raises(TrainerError, match=r"\*/Test/ lacks 'b', compared"):
        open_it(tmp_path, test="*/test")


def test_flags_pool_class_first_images(tmp_path: pathlib.Path) -> None:
    class_first(tmp_path / "pets")
    source = open_it(tmp_path / "pets", train=".")
    assert source.test is not None
    ids = {*source.train.ids, *source.test.ids}
    assert ids == {f"{c}/{s}/0.jpg" for c in CLASSES for s in ("train", "Test")}
    assert source.origins == {"train": "pets/", "test": "held out from pets/"}


def test_unused_folders_are_counted(tmp_path: pathlib.Path) -> None:
    make_folder(tmp_path, {"train": 2, "test": 1, "extra": 3}, classes=CLASSES)
    (tmp_path / "readme.txt").touch()
    write_image(tmp_path / "extra" / ".hidden.jpg")
    with pytest.raises(TrainerError, match="--train_split=train leaves it out"):
        open_it(tmp_path)
    source = open_it(tmp_path, train="train")
    assert len(source.train) == 4
    assert source.test is not None
    assert len(source.test) == 2
    assert source.passed_over.counts == {
        "in folders that are not used": {".jpg": 6},
        "not an image": {".txt": 1},
    }


def test_a_folder_around_the_data_set_is_named(tmp_path: pathlib.Path) -> None:
    make_folder(tmp_path / "food", {"train": 1, "test": 1}, classes=CLASSES)
    (tmp_path / "license.txt").touch()
    with pytest.raises(TrainerError) as error:
        open_it(tmp_path)
    assert str(error.value) == (
        f"--dataset={str(tmp_path)!r}: holds only food/, which holds test/ and"
        f" train/; give that folder: --dataset={str(tmp_path / 'food')!r}"
    )
    assert len(open_it(tmp_path / "food").train) == 2


def test_an_archive_in_the_folder_is_to_be_unpacked(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "Photos.ZIP").touch()
    with pytest.raises(TrainerError, match=r"in it; unpack Photos.ZIP first$"):
        open_it(tmp_path)


def test_an_unlabelled_test_folder_can_be_left_out(
    tmp_path: pathlib.Path,
) -> None:
    make_folder(tmp_path, {"train": 2}, classes=CLASSES)
    write_image(tmp_path / "test" / "1.jpg")
    with pytest.raises(TrainerError, match="--test_split=none to leave it out"):
        open_it(tmp_path)
    source = open_it(tmp_path, test="none")
    assert (len(source.train), len(source.test or ())) == (2, 2)
    assert source.passed_over.counts == {
        "in folders that are not used": {".jpg": 1}
    }


def test_workdirs_beside_the_splits_are_no_data(tmp_path: pathlib.Path) -> None:
    assert scanned_folder.WORKDIR_MARKER == workdir.MARKER
    make_folder(tmp_path, {"train": 1, "test": 1}, classes=CLASSES)
    write_image(tmp_path / "runs" / "one" / "chart.png")
    with pytest.raises(TrainerError, match="runs/ beside them would not be"):
        open_it(tmp_path)
    (tmp_path / "runs" / "one" / workdir.MARKER).touch()
    assert len(open_it(tmp_path).train) == 2


def test_pipes_are_not_opened(tmp_path: pathlib.Path) -> None:
    make_folder(tmp_path, {"": 2}, classes=CLASSES)
    os.mkfifo(tmp_path / "a" / "pipe")
    assert open_it(tmp_path).passed_over.total() == 1


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            {"train": 2, "test": 1, "extra": 3},
            {"train": "train", "validation": "none", "test": "test"},
        ),
        (
            {"Train": 2, "valid": 1},
            {"train": "Train", "validation": "valid", "test": "none"},
        ),
        ({"train": 2, "eval": 1}, {"train": "train", "test": "none"}),
        ({"Training": 2, "Testing": 1}, {"train": "."}),
        ({"": 2, "train": 2}, {"train": "train", "test": "none"}),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_run_of_an_earlier_version_keeps_its_splits(
    tmp_path: pathlib.Path, layout: dict[str, int], expected: dict[str, str]
) -> None:
    make_folder(tmp_path, layout, classes=CLASSES)
    before = open_folder(
        str(tmp_path), dataset="d", test_fraction=0.5, as_before=True
    )
    now = open_it(tmp_path, **{"validation": "none", **expected})
    assert before.splits().keys() == now.splits().keys()
    for split, samples in before.splits().items():
        assert samples.paths == now.splits()[split].paths
    # The next start finds the same splits.
    assert not before.origins


def test_a_run_of_an_earlier_version_keeps_its_images(
    tmp_path: pathlib.Path,
) -> None:
    make_folder(tmp_path, {"": 2}, classes=CLASSES)
    first = sorted((tmp_path / "a").iterdir())[0]
    for name in ("b/1.jfif", "b/two", "b/@eaDir/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(first, tmp_path / name)

    def ids(as_before: bool) -> set[str]:
        source = open_folder(
            str(tmp_path), dataset="d", test_fraction=0.5, as_before=as_before
        )
        return {x for part in source.splits().values() for x in part.ids}

    assert ids(True) - ids(False) == {"b/@eaDir/3.jpg"}
    assert ids(False) - ids(True) == {"b/1.jfif", "b/two"}


def test_an_earlier_class_called_train_stays_a_class(
    tmp_path: pathlib.Path,
) -> None:
    make_folder(tmp_path, {"": 2}, classes=("bus", "train"))
    before = open_folder(
        str(tmp_path), dataset="d", test_fraction=0.5, as_before=True
    )
    assert before.class_names == ("bus", "train")
