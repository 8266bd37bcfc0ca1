"""The advice of errors about data, followed to the letter."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Callable

import pytest
import tensorflow_datasets as tfds

from tests.support import tfds_images
from tests.support.images import make_folder, write_image
from trainer.data import connectivity
from trainer.data.manifest import build_manifest
from trainer.errors import TrainerError

# Defining the data sets is what makes TFDS know them.
assert tfds_images

DATA = "trainer_images/train_test"
TRAIN_TEST = {"train": 3, "test": 2}
ALL_THREE = {"train": 3, "val": 2, "test": 2}


@dataclasses.dataclass
class Given:
    """What a command names, which the advice may change.

    Attributes:
      root: a folder for everything.
      dataset: `--dataset`.
      data_dir: `--tfds_data_dir`.
      on_bad_image: `--on_bad_image`.
      patch: undone after the test.
    """

    root: pathlib.Path
    patch: pytest.MonkeyPatch
    dataset: str = ""
    data_dir: str = ""
    on_bad_image: str = "fail"

    @property
    def photos(self) -> pathlib.Path:
        """The folder of photos."""
        return self.root / "photos"

    def open(self) -> None:
        """Reads the data as a run does before it trains."""
        build_manifest(
            dataset=self.dataset or str(self.photos),
            tfds_data_dir=self.data_dir or str(self.root / "tfds"),
            test_fraction=0.2,
            data_pct=100,
            seed=0,
            batch_size=4,
            validation_fraction=0.25,
            on_bad_image=self.on_bad_image,
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A state that is refused, and one or more ways out of it.

    Attributes:
      name: of the case.
      make: brings the state about.
      words: the message holds them, the advice among them.
      follow: what the advice says, one function for each alternative.
    """

    name: str
    make: Callable[[Given], object]
    words: tuple[str, ...]
    follow: tuple[Callable[[Given], object], ...]


def photos(*, classes: tuple[str, ...] = ("a", "b", "c"), **layout: int):
    """Makes the folder of photos; `flat` is the folder itself."""

    def make(given: Given) -> None:
        splits = {k: n for k, n in layout.items() if k != "flat"}
        if "flat" in layout:
            splits[""] = layout["flat"]
        make_folder(given.photos, splits, classes=classes)

    return make


def then(*steps: Callable[[Given], object]) -> Callable[[Given], object]:
    """The steps one after the other."""

    def do(given: Given) -> None:
        for step in steps:
            step(given)

    return do


def emptied(name: str) -> Callable[[Given], object]:
    """Removes what is in a folder of the photos."""

    def do(given: Given) -> None:
        shutil.rmtree(given.photos / name)
        (given.photos / name).mkdir()

    return do


def removed(*names: str) -> Callable[[Given], object]:
    """Removes folders or files of the photos."""

    def do(given: Given) -> None:
        for name in names:
            path = given.photos / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def added(*names: str) -> Callable[[Given], object]:
    """Adds images."""

    def do(given: Given) -> None:
        for number, name in enumerate(names):
            write_image(given.photos / name, seed=50 + number)

    return do


def spoilt(*names: str) -> Callable[[Given], object]:
    """Empties images."""

    def do(given: Given) -> None:
        for name in names:
            (given.photos / name).write_bytes(b"")

    return do


def moved(old: str, new: str) -> Callable[[Given], object]:
    """Renames something in the photos."""

    def do(given: Given) -> None:
        (given.photos / new).parent.mkdir(parents=True, exist_ok=True)
        (given.photos / old).rename(given.photos / new)

    return do


def merged(old: str, new: str) -> Callable[[Given], object]:
    """Moves the files of one folder to another one."""

    def do(given: Given) -> None:
        for path in (given.photos / old).iterdir():
            path.rename(given.photos / new / f"of {path.name}")
        (given.photos / old).rmdir()

    return do


def setting(**values: str) -> Callable[[Given], object]:
    """Changes flags."""

    def do(given: Given) -> None:
        for name, value in values.items():
            setattr(given, name, value.format(root=given.root))

    return do


def prepared(
    dataset: str = DATA, data_dir: str = "tfds", file_format: str = "tfrecord"
) -> Callable[[Given], object]:
    """Prepares a data set, as `tfds build` does."""

    def do(given: Given) -> None:
        builder = tfds.builder(
            dataset,
            data_dir=str(given.root / data_dir),
            file_format=file_format,
        )
        builder.download_and_prepare()

    return do


def location(given: Given) -> pathlib.Path:
    """Where the prepared data set lies."""
    return given.root / "tfds" / DATA / "1.0.0"


def prepared_again(given: Given) -> None:
    """Removes the folder and prepares the data set again."""
    shutil.rmtree(location(given))
    prepared()(given)


def in_folder(
    name: str, change: Callable[[pathlib.Path], object]
) -> Callable[[Given], object]:
    """Changes a file of the prepared data set."""

    def do(given: Given) -> None:
        (path,) = location(given).glob(name)
        change(path)

    return do


def _unlistable(given: Given) -> None:
    """Also for root, who may list every folder."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("train/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    given.patch.setattr(os, "scandir", refuse)


def _without_array_record(given: Given) -> None:
    module = "array_record.python.array_record_module"
    given.patch.setitem(sys.modules, module, None)


TFDS = setting(dataset=DATA)
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
TFDS_CASES = (
    Case(
        "a name mistyped",
        setting(dataset="trainer_image"),
        ("did you mean trainer_images", "or a name from the TFDS catalogue"),
        (setting(dataset="trainer_images"),),
    ),
    Case(
        "a config mistyped",
        setting(dataset="trainer_images/train_tests"),
        ("train_test", "give a config and version that TFDS has"),
        (setting(dataset=DATA),),
    ),
    Case(
        "a version that is not there",
        setting(dataset=f"{DATA}:9.9.9"),
        ("give a config and version that TFDS has",),
        (setting(dataset=f"{DATA}:1.0.0"),),
    ),
    Case(
        "not prepared and no network",
        setting(dataset="trainer_unreachable"),
        ("(tfds build trainer_unreachable) and point --tfds_data_dir at it",),
        (
            then(
                prepared("trainer_unreachable", "other"),
                setting(data_dir="{root}/other"),
            ),
        ),
    ),
    Case(
        "no labelled train split",
        setting(dataset="trainer_images/no_train"),
        ("has no train split with labels (its splits: test); give",),
        (TFDS,),
    ),
    Case(
        "not for classifying",
        setting(dataset="trainer_unkeyed"),
        ("give one with an image and a class label per example",),
        (TFDS,),
    ),
    Case(
        "a package is missing",
        then(TFDS, prepared(file_format="array_record"), _without_array_record),
        ("install it, or prepare it with tfds build --file_format=tfrecord",),
        (
            lambda given: given.patch.undo(),
            then(prepared(data_dir="other"), setting(data_dir="{root}/other")),
        ),
    ),
    Case(
        "a damaged shard",
        then(
            TFDS,
            prepared(),
            in_folder("*-train.*", lambda path: path.write_bytes(b"x" * 30)),
        ),
        ("train_test/1.0.0 and prepare the data set again",),
        (
            prepared_again,
            # The trainer itself prepares what is not there.
            lambda given: shutil.rmtree(location(given)),
        ),
    ),
    Case(
        "damaged metadata",
        then(
            TFDS,
            prepared(),
            in_folder("features.json", lambda path: path.write_bytes(b"{")),
        ),
        ("train_test/1.0.0 and prepare the data set again",),
        (prepared_again, lambda given: shutil.rmtree(location(given))),
    ),
    Case(
        "a class twice",
        then(
            TFDS,
            prepared(),
            setting(dataset=f"{DATA}:1.0.0"),
            in_folder("label.labels.txt", lambda p: p.write_text("a\nb\na\n")),
        ),
        ("are both called 'a'; give each its own name, remove ",),
        (prepared_again,),
    ),
)


@pytest.mark.parametrize(
    ("case", "number"),
    [
        pytest.param(case, number, id=f"{case.name}-{number}")
        for case in (*FOLDERS, *IMAGES, *TFDS_CASES)
        for number in range(len(case.follow))
    ],
)
def test_advice_leads_to_no_other_error(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    number: int,
) -> None:
    if case.name.endswith("Unicode forms"):
        (tmp_path / "e\u0301").touch()
        if (tmp_path / "\xe9").exists():
            pytest.skip("the file system unifies Unicode forms")
    monkeypatch.setattr(connectivity, "_answers", lambda url: False)
    given = Given(tmp_path, monkeypatch)
    case.make(given)
    with pytest.raises(TrainerError) as error:
        given.open()
    for word in case.words:
        assert word in str(error.value)
    case.follow[number](given)
    given.open()
