"""Opens folders of photos, one folder per class."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from trainer.config.split_names import (
    EACH_CLASS,
    NO_SPLIT,
    SplitNames,
    flag_of,
)
from trainer.data.layout import find_layout
from trainer.data.layout_flags import earlier_names
from trainer.data.layout_names import Layout, LayoutError, SplitFolder
from trainer.data.passed_over import (
    NOT_AN_IMAGE,
    OUTSIDE,
    UNUSED,
    suffixes_phrase,
)
from trainer.data.samples import (
    HELD_OUT,
    WHOLE_FILE,
    Samples,
    Source,
    printable,
)
from trainer.data.scanned_folder import ScannedFolder
from trainer.data.subsets import split_flat
from trainer.data.walk import (
    SUFFIXES,
    Tally,
    is_archive,
    is_folder,
    is_image,
    visible,
    walk_images,
)
from trainer.errors import TrainerError, reason_of
from trainer.storage import files

LAYOUTS = "a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"


def open_folder(
    path: str,
    *,
    dataset: str,
    test_fraction: float,
    names: SplitNames | None = None,
    as_before: bool = False,
) -> Source:
    """Lists a folder of photos.

    `layout.find_layout` says which folders are splits and which are classes.
    If there is no test or validation split, a part is split off to test on.
    Classes and ids are in NFC and sorted by code point. Only files without
    the suffix of an image are opened, to read their first bytes.

    Args:
      path: an existing folder.
      dataset: the name that the user gave, for errors.
      test_fraction: fraction of each class to test on, if there is no test or
        validation split.
      names: the folders of the splits that flags name.
      as_before: whether to find splits and images as versions did whose
        manifests have no `origins`; then the source has none.

    Returns:
      The source, with class names and ids in NFC, and paths as on disk.

    Raises:
      TrainerError: the folder cannot be used; the message says why.
      UsageError: a flag names a folder that does not exist.
    """
    as_before = as_before and not (names and names.given())
    opened = _Folder(path, dataset, as_before=as_before)
    if as_before:
        source = opened.open(test_fraction, opened.earlier_names())
        return dataclasses.replace(source, origins={})
    return opened.open(test_fraction, names)


class _Folder:
    """A data set folder, and the name that the user gave it."""

    def __init__(self, path: str, dataset: str, *, as_before: bool) -> None:
        """Creates the folder; see `open_folder` for the arguments."""
        self._root = files.absolute(path)
        self._dataset = dataset
        # Split -> its folder below the root; filled by `open`.
        self._folders: dict[str, str] = {}
        self._tally = Tally()
        self._as_before = as_before

    def open(self, test_fraction: float, names: SplitNames | None) -> Source:
        """Lists the folder; see `open_folder`."""
        layout = self._layout(names)
        folders = {split: at.path for split, at in layout.splits.items()}
        self._folders = folders
        splits = {}
        class_names: tuple[str, ...] = ()
        for split, at in layout.splits.items():
            classes = self._classes(at)
            if split == "train":
                class_names = tuple(sorted(classes))
            self._check_same_classes(class_names, classes, at.path)
            splits[split] = self._samples(at.path, classes)
        self._count_unused(layout)
        if len(class_names) < 2:
            images = "images" if len(splits) > 1 else "two or more images"
            raise self._error(
                f"one class only, {class_names[0]!r}; classifying needs two"
                f" or more: add a class folder with {images} to {self._all()}"
            )
        name = printable(os.path.basename(self._root)) or "photos"
        origins = {
            split: f"{name}/{printable(path)}".rstrip("/") + "/"
            for split, path in folders.items()
        }
        if len(splits) == 1:
            splits["train"], splits["test"] = split_flat(
                splits["train"],
                class_names,
                test_fraction,
                dataset=self._dataset,
                remedy=f"add images{self._or_remove(class_names)}",
            )
            origins["test"] = f"{HELD_OUT} {origins['train']}"
        return Source(
            name=name,
            location=printable(self._root),
            class_names=class_names,
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits.get("test"),
            origins=origins,
            passed_over=self._tally.result(),
            notes=layout.notes,
        )

    def earlier_names(self) -> SplitNames:
        """Returns the splits that earlier versions found."""
        with self._listing(self._root):
            return earlier_names(self._scanned())

    def _scanned(self) -> ScannedFolder:
        name = os.path.basename(self._root)
        return ScannedFolder(self._root, name, as_before=self._as_before)

    def _layout(self, names: SplitNames | None) -> Layout:
        try:
            with self._listing(self._root):
                return find_layout(self._scanned(), names)
        except LayoutError as error:
            inner = ""
            if error.inner:
                inside = os.path.join(self._dataset, printable(error.inner))
                inner = f": --dataset={inside!r}"
            raise self._error(f"{error}{inner}") from error

    def _count_unused(self, layout: Layout) -> None:
        """Counts the files outside the class folders."""
        loose = {""}
        for at in layout.splits.values():
            if at.path.startswith(EACH_CLASS):
                loose.update(name for name, _ in at.classes)
            else:
                loose.add(at.path)
        for folder in sorted(loose):
            for entry in self._scan(os.path.join(self._root, folder)):
                if is_folder(entry):
                    continue
                what = OUTSIDE if self._is_image(entry) else NOT_AN_IMAGE
                self._tally.add(entry.name, what)
        for folder in layout.unused:
            path = os.path.join(self._root, folder)
            with self._listing(path):
                self._tally.add_below(path, UNUSED)

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

    def _scan(self, folder: str) -> list[files.Entry]:
        with self._listing(folder):
            return visible(folder, as_before=self._as_before)

    def _is_image(self, entry: files.Entry) -> bool:
        return is_image(entry, as_before=self._as_before)

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

    def _classes(self, split: SplitFolder) -> dict[str, str]:
        """Returns class name in NFC -> path below the root, for one split."""
        classes: dict[str, str] = {}
        folders: dict[str, str] = {}
        folder = split.path
        for on_disk, path in split.classes:
            name = _nfc(on_disk)
            if name in classes:
                raise self._error(
                    f"two folders of class {name!r} in"
                    f" {self._where(folder)}, {folders[name]!a} and"
                    f" {on_disk!a}: the same name in two Unicode"
                    " forms; merge them"
                )
            classes[name], folders[name] = path, on_disk
        if not classes:
            raise self._no_classes(folder)
        return classes

    def _no_classes(self, folder: str) -> TrainerError:
        """Returns the error about a split without class folders."""
        advice = f"give {LAYOUTS}"
        split = next(s for s, path in self._folders.items() if path == folder)
        if split != "train":
            train = printable(self._folders["train"])
            advice = (
                f"add those of {train}/, each with images, or give"
                f" --{flag_of(split)}={NO_SPLIT} to leave it out"
            )
        entries = self._scan(os.path.join(self._root, folder))
        archives = [x.name for x in entries if is_archive(x.name)]
        if archives:
            advice = f"unpack {printable(archives[0])} first"
        return self._error(
            f"no class folders in {self._where(folder)}; {advice}"
        )

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
            below = os.path.join(self._root, classes[name])
            count = len(rows)
            tally = Tally()
            for path in self._images(below, tally):
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
                    f" ({', '.join(SUFFIXES)}){_instead(tally)}; add some"
                    f"{self._or_remove(classes)}"
                )
            self._tally.add_all(tally)
        ids = sorted(rows)
        return Samples(
            ids=tuple(ids),
            labels=np.array([rows[i][0] for i in ids], np.int32),
            paths=tuple(rows[i][1] for i in ids),
            offsets=np.zeros(len(ids), np.int64),
            lengths=np.full(len(ids), WHOLE_FILE, np.int64),
        )

    def _images(self, folder: str, tally: Tally) -> list[str]:
        """Returns the paths of the images of a class."""
        with self._listing(folder):
            return list(walk_images(folder, tally, as_before=self._as_before))


def _instead(tally: Tally) -> str:
    """Returns `, only 20 .heic`, about a class folder without images."""
    by_suffix = tally.result().counts.get(NOT_AN_IMAGE)
    return f", only {suffixes_phrase(by_suffix)}" if by_suffix else ""


def _nfc(name: str) -> str:
    """Returns a printable name in NFC: macOS stores decomposed names."""
    return unicodedata.normalize("NFC", printable(name))
