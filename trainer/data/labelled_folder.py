"""Reads all images of a labelled folder, to evaluate a trained model on."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from trainer.config.split_names import EACH_CLASS, NO_SPLIT, ROOT, SplitNames
from trainer.data.layout_names import (
    Folder,
    LayoutError,
    SplitFolder,
    role_of,
    split_folder,
)
from trainer.data.passed_over import OUTSIDE, UNUSED, PassedOver
from trainer.data.samples import WHOLE_FILE, Samples, printable
from trainer.data.scanned_folder import ScannedFolder
from trainer.data.walk import Tally, is_folder, is_image, visible, walk_images
from trainer.errors import TrainerError, UsageError, reason_of, shortened
from trainer.storage import files

# How many folders may lie between the data set's folder and the class folders.
_MAX_DEPTH = 2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFolder:
    """The images of a folder, labelled with the classes of a run.

    Attributes:
      location: absolute path of the folder.
      samples: the images of the run's classes, sorted by id, which is the path
        below the folder.
      places: folder of class folders -> number of its images in `samples`.
      left_out: class that the run lacks -> number of its images.
      missing: the run's classes without an image here.
      passed_over: files that are not used.
    """

    location: str
    samples: Samples
    places: Mapping[str, int]
    left_out: Mapping[str, int]
    missing: tuple[str, ...]
    passed_over: PassedOver


def open_labelled_folder(
    path: str,
    *,
    dataset: str,
    class_names: tuple[str, ...],
    names: SplitNames | None = None,
) -> LabelledFolder:
    """Lists a folder of photos whose classes are those of a run.

    The class folders are those that have the name of a class of the run, and
    the folders beside them. They may lie directly in the folder, or in folders
    of it such as `train` and `test`; then all of these are read. If flags name
    splits, only these are.

    Args:
      path: an existing folder.
      dataset: the name that the user gave, for errors.
      class_names: the run's classes, in the order of the labels.
      names: the folders of the splits that flags name.

    Raises:
      TrainerError: no folder has the name of a class with images, or a folder
        cannot be listed.
      UsageError: a flag names a folder that does not exist.
    """
    try:
        return _Reader(path, class_names).read(names)
    except LayoutError as error:
        raise TrainerError(f"--dataset={dataset!r}: {error}") from error
    except OSError as error:
        where = printable(str(error.filename or path))
        raise TrainerError(
            f"--dataset={dataset!r}: {where}: cannot be listed"
            f" ({reason_of(error)}); give a folder that can be read"
        ) from error


class _Reader:
    """Reads the images of one folder."""

    def __init__(self, path: str, class_names: tuple[str, ...]) -> None:
        self._root = files.absolute(path)
        self._labels = {_nfc(name): i for i, name in enumerate(class_names)}
        self._class_names = class_names
        self._tally = Tally()

    def read(self, names: SplitNames | None) -> LabelledFolder:
        """Lists the images; see `open_labelled_folder`."""
        splits = self._splits(names)
        rows: dict[str, tuple[int, str]] = {}
        places: dict[str, int] = {}
        left_out: dict[str, int] = {}
        for split in splits:
            before = len(rows)
            for name, below in split.classes:
                for found in self._images(below):
                    label = self._labels.get(_nfc(name))
                    if label is None:
                        shown = printable(name)
                        left_out[shown] = left_out.get(shown, 0) + 1
                    else:
                        rows[self._relative(found)] = (label, found)
            places[self._shown(split.path)] = len(rows) - before
        if not rows:
            raise LayoutError(
                "no image in a folder with the name of a class of the run, such"
                f" as {self._class_names[0]!r}; give a folder whose class"
                " folders are named like the run's classes:"
                f" {shortened(', '.join(map(repr, self._class_names)))}"
            )
        self._count_unused(splits)
        samples = _samples(rows)
        counts = samples.counts(len(self._class_names))
        return LabelledFolder(
            location=printable(self._root),
            samples=samples,
            places=places,
            left_out=left_out,
            missing=tuple(
                name
                for name, count in zip(self._class_names, counts, strict=True)
                if not count
            ),
            passed_over=self._tally.result(),
        )

    def _splits(self, names: SplitNames | None) -> list[SplitFolder]:
        """Returns the folders that hold class folders."""
        given = names.given() if names else {}
        named = [split for split, x in given.items() if x != NO_SPLIT]
        if names and named:
            return [self._named(names, split) for split in named]
        return [
            split_folder(folder, path)
            for folder, path in self._parents(self._scanned(""), "", _MAX_DEPTH)
        ]

    def _scanned(self, path: str) -> ScannedFolder:
        full = os.path.join(self._root, path) if path else self._root
        return ScannedFolder(full, os.path.basename(full))

    def _named(self, names: SplitNames, split: str) -> SplitFolder:
        """Returns the split that a flag names."""
        value = names.given()[split]
        if value == ROOT:
            return split_folder(self._scanned(""), "")
        path = value.rstrip("/")
        inner = path.removeprefix(EACH_CLASS)
        if inner == path:
            found = files.is_dir(os.path.join(self._root, path))
            at = split_folder(self._scanned(path), path) if found else None
        else:
            places = [
                (top.name, os.path.join(top.name, inner))
                for top in self._scanned("").folders
            ]
            classes = tuple(
                (name, place)
                for name, place in places
                if files.is_dir(os.path.join(self._root, place))
            )
            at = SplitFolder(path=path, classes=classes) if classes else None
        if at is None:
            raise UsageError(
                f"{names.shown(split)}: no such folder in"
                f" {printable(self._root)}; give one of its folders, or leave"
                " the flag out to evaluate all of them"
            )
        return at

    def _parents(
        self, folder: Folder, path: str, depth: int
    ) -> Iterator[tuple[Folder, str]]:
        """Yields the folders in which a class folder lies, and their paths."""
        if any(self._is_class(inner) for inner in folder.folders):
            yield folder, path
        elif depth:
            for inner in folder.folders:
                below = os.path.join(path, inner.name)
                yield from self._parents(inner, below, depth - 1)

    def _is_class(self, folder: Folder) -> bool:
        """Returns whether a folder is one of a class, not of a split."""
        if _nfc(folder.name) not in self._labels:
            return False
        return role_of(folder.name) is None or folder.has_images

    def _images(self, below: str) -> Iterator[str]:
        yield from walk_images(os.path.join(self._root, below), self._tally)

    def _relative(self, path: str) -> str:
        below = path[len(os.path.join(self._root, "")) :]
        return printable(below.replace(os.sep, "/"))

    def _shown(self, path: str) -> str:
        name = os.path.basename(self._root) or self._root
        return printable(f"{name}/{path}".rstrip("/") + "/")

    def _count_unused(self, splits: Collection[SplitFolder]) -> None:
        """Counts the images outside the class folders."""
        loose = {"", *(split.path for split in splits)}
        classes = {path for split in splits for _, path in split.classes}
        visited: set[object] = set()
        todo = [""]
        while todo:
            path = todo.pop()
            folder = os.path.join(self._root, path) if path else self._root
            # Circular links end here.
            identity = files.identity(folder)
            if path in classes or identity in visited:
                continue
            visited.add(identity)
            for entry in visible(folder):
                if is_folder(entry):
                    todo.append(os.path.join(path, entry.name))
                elif is_image(entry):
                    reason = OUTSIDE if path in loose else UNUSED
                    self._tally.add(entry.name, reason)


def _samples(rows: Mapping[str, tuple[int, str]]) -> Samples:
    ids = sorted(rows)
    return Samples(
        ids=tuple(ids),
        labels=np.array([rows[i][0] for i in ids], np.int32),
        paths=tuple(rows[i][1] for i in ids),
        offsets=np.zeros(len(ids), np.int64),
        lengths=np.full(len(ids), WHOLE_FILE, np.int64),
    )


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", printable(name))
