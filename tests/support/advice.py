"""States of a data set that are rejected, and steps that follow the advice."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tensorflow_datasets as tfds

from tests.support import tfds_images
from tests.support.images import make_folder, write_image
from tests.support.manifests import build
from trainer.errors import TrainerError

# TFDS knows these data sets once the module is imported.
assert tfds_images

DATA = "trainer_images/train_test"


@dataclasses.dataclass
class Given:
    """The data set and the flags of a command, which the advice may change.

    Attributes:
      root: folder of all files.
      dataset: `--dataset`.
      data_dir: `--tfds_data_dir`.
      on_bad_image: `--on_bad_image`.
      patch: changes that are undone after the test.
    """

    root: pathlib.Path
    patch: pytest.MonkeyPatch
    dataset: str = ""
    data_dir: str = ""
    on_bad_image: str = "fail"

    @property
    def photos(self) -> pathlib.Path:
        """Folder of the photos."""
        return self.root / "photos"

    def open(self) -> None:
        """Builds the manifest, as a run does before training."""
        build(
            self.dataset or self.photos,
            tfds_data_dir=self.data_dir or str(self.root / "tfds"),
            data_pct=100,
            validation_fraction=0.25,
            on_bad_image=self.on_bad_image,
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A state that is rejected, and the advice for it.

    Attributes:
      name: name of the case.
      make: creates the state.
      words: parts of the message, including the advice.
      follow: follows the advice, one function per alternative.
    """

    name: str
    make: Callable[[Given], object]
    words: tuple[str, ...]
    follow: tuple[Callable[[Given], object], ...]


def photos(
    *, classes: tuple[str, ...] = ("a", "b", "c"), **layout: int
) -> Callable[[Given], object]:
    """Writes the folder of photos; `flat` is the folder itself."""

    def make(given: Given) -> None:
        splits = {k: n for k, n in layout.items() if k != "flat"}
        if "flat" in layout:
            splits[""] = layout["flat"]
        make_folder(given.photos, splits, classes=classes)

    return make


def then(*steps: Callable[[Given], object]) -> Callable[[Given], object]:
    """Runs the steps one after the other."""

    def do(given: Given) -> None:
        for step in steps:
            step(given)

    return do


def emptied(name: str) -> Callable[[Given], object]:
    """Empties a folder of the photos."""

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
    """Truncates images to zero bytes."""

    def do(given: Given) -> None:
        for name in names:
            (given.photos / name).write_bytes(b"")

    return do


def moved(old: str, new: str) -> Callable[[Given], object]:
    """Renames a file or folder of the photos."""

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
    """Returns the folder of the prepared data set."""
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


def parameters(cases: Sequence[Case]) -> list[Any]:
    """Returns a test parameter for each alternative of each case."""
    return [
        pytest.param(case, number, id=f"{case.name}-{number}")
        for case in cases
        for number in range(len(case.follow))
    ]


def check(case: Case, number: int, given: Given) -> None:
    """Checks that the message gives the advice, and that it helps."""
    case.make(given)
    with pytest.raises(TrainerError) as error:
        given.open()
    for word in case.words:
        assert word in str(error.value)
    case.follow[number](given)
    given.open()
