"""Opens folders of photos, one folder per class."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from trainer.config.grouping import GroupRule
from trainer.data.group_names import grouped
from trainer.data.samples import WHOLE_FILE, Samples, Source, printable
from trainer.data.subsets import split_flat
from trainer.errors import TrainerError, reason_of
from trainer.storage import files

LAYOUTS = "a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_VALIDATION_NAMES = ("val", "valid", "validation")
_SPLIT_NAMES = ("train", "test", *_VALIDATION_NAMES)


def walk_images(folder: str) -> Iterator[str]:
    """Yields the paths of the images below a folder, sorted in each folder.

    An image is a file with one of the `SUFFIXES`. Hidden names and `__MACOSX`
    are skipped. Links are followed, but each folder is entered only once, so
    that circular links end.

    Raises:
      OSError: a folder cannot be listed.
    """
    yield from _walk(folder, set())


def _walk(folder: str, visited: set[object]) -> Iterator[str]:
    identity = files.identity(folder)
    if identity in visited:
        return
    visited.add(identity)
    for entry in _visible(folder):
        if _is_folder(entry):
            yield from _walk(entry.path, visited)
        elif _is_image(entry):
            yield entry.path


def _visible(folder: str) -> list[files.Entry]:
    """Returns the visible entries of a folder, sorted by name."""
    return sorted(
        (
            entry
            for entry in files.scan(folder)
            if not entry.name.startswith(".") and entry.name != "__MACOSX"
        ),
        key=lambda entry: entry.name,
    )


def open_folder(
    path: str,
    *,
    dataset: str,
    test_fraction: float,
    group_by: GroupRule | None = None,
) -> Source:
    """Lists a folder of photos; opens no file.

    The folder holds `train/CLASS/...` beside `test/`, or beside a validation
    split (`val/`, `valid/` or `validation/`), or beside both. If there is only
    `train/`, or `CLASS/...`, a part is split off to test on. Classes and ids
    are in NFC and sorted by code point. Hidden files and folders are skipped.

    Args:
      path: an existing folder.
      dataset: the name that the user gave, for errors.
      test_fraction: fraction of each class to test on, if there is no test or
        validation split.
      group_by: which images form a group; None groups none.

    Returns:
      The source, with class names and ids in NFC, and paths as on disk.

    Raises:
      TrainerError: the folder cannot be used; the message says why.
    """
    return _Folder(path, dataset).open(test_fraction, group_by)


class _Folder:
    """A data set folder, and the name that the user gave it."""

    def __init__(self, path: str, dataset: str) -> None:
        """Creates the folder; see `open_folder` for the arguments."""
        self._root = files.absolute(path)
        self._dataset = dataset
        # Split -> its folder below the root; filled by `open`.
        self._folders: dict[str, str] = {}

    def open(self, test_fraction: float, group_by: GroupRule | None) -> Source:
        """Lists the folder; see `open_folder`."""
        folders = self._folders = self._split_folders()
        splits = {}
        class_names: tuple[str, ...] = ()
        for split, folder in folders.items():
            classes = self._classes(folder)
            if split == "train":
                class_names = tuple(sorted(classes))
            self._check_same_classes(class_names, classes, folder)
            splits[split] = self._samples(folder, classes)
        if len(class_names) < 2:
            images = "images" if len(splits) > 1 else "two or more images"
            raise self._error(
                f"one class only, {class_names[0]!r}; classifying needs two"
                f" or more: add a class folder with {images} to {self._all()}"
            )
        splits = grouped(splits, group_by, dataset=self._dataset)
        if len(splits) == 1:
            splits["train"], splits["test"] = split_flat(
                splits["train"],
                class_names,
                test_fraction,
                dataset=self._dataset,
                remedy=f"add images{self._or_remove(class_names)}",
            )
        return Source(
            name=printable(os.path.basename(self._root)) or "photos",
            location=printable(self._root),
            class_names=class_names,
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits.get("test"),
        )

    def _error(self, text: str) -> TrainerError:
        return TrainerError(f"--dataset={self._dataset!r}: {text}")

    def _all(self) -> str:
        """Returns the folders of the splits, as a phrase."""
        *rest, last = (self._where(f) for f in self._folders.values())
        return f"{', '.join(rest)} and {last}" if rest else last

    def _or_remove(self, class_names: Collection[str]) -> str:
        """Returns the advice to remove a class, if enough others are left."""
        if len(class_names) <= 2:
            return ""
        several = len(self._folders) > 1
        where = f" from {self._all()} alike" if several else ""
        return f", or remove the class{where}"

    def _split_folders(self) -> dict[str, str]:
        """Returns the folder of each split; '' for train means the root."""
        found = {}
        for entry in self._scan(self._root):
            name = entry.name.lower()
            if name in _SPLIT_NAMES and _is_folder(entry):
                # If there are both Train and train, train comes last and wins.
                found[name] = entry.name
        if "train" not in found or self._is_class(found):
            return {"train": ""}
        validation = [name for name in _VALIDATION_NAMES if name in found]
        if len(validation) > 1:
            raise self._error(
                "more than one validation split:"
                f" {', '.join(f'{found[name]}/' for name in validation)};"
                " keep one of them"
            )
        folders = {"train": found["train"]}
        if validation:
            folders["validation"] = found[validation[0]]
        if "test" in found:
            folders["test"] = found["test"]
        return folders

    def _is_class(self, found: Mapping[str, str]) -> bool:
        """Returns whether `train` is a class of its own: photos of trains."""
        if len(found) > 1:
            return False
        entries = self._scan(os.path.join(self._root, found["train"]))
        return any(_is_image(entry) for entry in entries) and not any(
            _is_folder(entry) for entry in entries
        )

    def _scan(self, folder: str) -> list[files.Entry]:
        with self._listing(folder):
            return _visible(folder)

    @contextlib.contextmanager
    def _listing(self, folder: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = printable(str(error.filename or folder))
            raise self._error(
                f"{where}: cannot be listed ({reason_of(error)}); give a folder"
                " that can be read"
            ) from error

    def _classes(self, folder: str) -> dict[str, str]:
        """Returns class name in NFC -> name of its folder, for one split."""
        classes: dict[str, str] = {}
        for entry in self._scan(os.path.join(self._root, folder)):
            if not _is_folder(entry):
                continue
            name = _nfc(entry.name)
            if name in classes:
                raise self._error(
                    f"two folders of class {name!r} in"
                    f" {self._where(folder)}, {classes[name]!a} and"
                    f" {entry.name!a}: the same name in two Unicode"
                    " forms; merge them"
                )
            classes[name] = entry.name
        if not classes:
            advice = f"give {LAYOUTS}"
            if folder and folder != self._folders["train"]:
                train = printable(self._folders["train"])
                advice = f"add those of {train}/, each with images"
            raise self._error(
                f"no class folders in {self._where(folder)}; {advice}"
            )
        return classes

    def _where(self, folder: str) -> str:
        return f"{printable(folder)}/" if folder else "it"

    def _check_same_classes(
        self, expected: tuple[str, ...], found: Mapping[str, str], folder: str
    ) -> None:
        missing = sorted(set(expected) - set(found))
        extra = sorted(set(found) - set(expected))
        if not missing and not extra:
            return
        parts = [
            f"{what} {', '.join(map(repr, names))}"
            for what, names in (("lacks", missing), ("also has", extra))
            if names
        ]
        raise self._error(
            f"{self._where(folder)} {' and '.join(parts)}, compared with"
            f" {self._where(self._folders['train'])}; give {self._all()} the"
            " same class folders, each with images"
        )

    def _samples(self, folder: str, classes: Mapping[str, str]) -> Samples:
        """Returns all images of a split, sorted by id."""
        rows: dict[str, tuple[int, str]] = {}
        for label, name in enumerate(sorted(classes)):
            below = os.path.join(self._root, folder, classes[name])
            count = len(rows)
            for path in self._images(below):
                relative = path[len(below) + 1 :].replace(os.sep, "/")
                sample_id = f"{name}/{_nfc(relative)}"
                if sample_id in rows:
                    raise self._error(
                        f"{rows[sample_id][1]!a} and {path!a}: the"
                        " same name in two Unicode forms; rename one"
                    )
                rows[sample_id] = (label, path)
            if len(rows) == count:
                raise self._error(
                    f"class {name!r} in {self._where(folder)} has no image"
                    f" ({', '.join(SUFFIXES)}); add some"
                    f"{self._or_remove(classes)}"
                )
        ids = sorted(rows)
        return Samples(
            ids=tuple(ids),
            labels=np.array([rows[i][0] for i in ids], np.int32),
            paths=tuple(rows[i][1] for i in ids),
            offsets=np.zeros(len(ids), np.int64),
            lengths=np.full(len(ids), WHOLE_FILE, np.int64),
        )

    def _images(self, folder: str) -> list[str]:
        """Returns the paths of the images of a class."""
        with self._listing(folder):
            return list(walk_images(folder))


def _nfc(name: str) -> str:
    """Returns a printable name in NFC: macOS stores decomposed names."""
    return unicodedata.normalize("NFC", printable(name))


def _is_folder(entry: files.Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _is_image(entry: files.Entry) -> bool:
    # A broken link counts as an image, which the check then reports.
    return entry.name.lower().endswith(SUFFIXES) and not _is_folder(entry)
