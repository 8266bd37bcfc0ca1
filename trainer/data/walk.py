"""Finds the images in a folder, and counts the files that are not used."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator

from trainer.data.passed_over import NOT_AN_IMAGE, PassedOver, suffix_of
from trainer.data.signatures import SIGNATURE_BYTES, looks_like_image
from trainer.storage import files

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# Rare suffixes of the same formats.
_IMAGES = (*SUFFIXES, ".jfif", ".jpe", ".pjpeg", ".pjp", ".dib")
# Files that are never opened to look for an image. Data sets have one of them
# for each image, and at a URL each look is a request.
_TEXTS = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
        *(".md", ".html", ".htm", ".py", ".ini", ".db", ".url", ".lnk"),
    )
)
_ARCHIVES = (
    *(".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz"),
    *(".txz", ".tar.zst", ".7z", ".rar"),
)
# Folders and files of NAS boxes, Windows, macOS, file systems and Jupyter, in
# lower case.
SYSTEM_NAMES = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", ".@__thumb"),
        *("$recycle.bin", "recycler", "system volume information"),
        *("__macosx", "lost+found", ".ipynb_checkpoints"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)


class Tally:
    """Counts files that are not used, by reason and suffix."""

    def __init__(self) -> None:
        """Creates an empty tally."""
        self._counts: dict[str, collections.Counter[str]] = {}

    def add(self, name: str, reason: str) -> None:
        """Counts one file."""
        by_suffix = self._counts.setdefault(reason, collections.Counter())
        by_suffix[suffix_of(name)] += 1

    def add_below(self, folder: str, reason: str) -> None:
        """Counts all images below a folder.

        Raises:
          OSError: a folder cannot be listed.
        """
        for path in walk_images(folder):
            self.add(os.path.basename(path), reason)

    def add_all(self, other: Tally) -> None:
        """Adds the counts of another tally."""
        for reason, by_suffix in other._counts.items():
            self._counts.setdefault(reason, collections.Counter()).update(
                by_suffix
            )

    def result(self) -> PassedOver:
        """Returns what was counted so far."""
        return PassedOver(
            counts={why: dict(by) for why, by in self._counts.items()}
        )


def walk_images(
    folder: str, tally: Tally | None = None, *, as_before: bool = False
) -> Iterator[str]:
    """Yields the paths of the images below a folder, sorted in each folder.

    An image is a file with the suffix of a supported format, or any other
    file whose first bytes are those of an image. Hidden names and
    `SYSTEM_NAMES` are skipped. Links are followed, but each folder is
    entered only once, so that circular links end.

    Args:
      folder: the folder.
      tally: counts the files that are not images.
      as_before: whether to find what earlier versions found: only files with
        one of the `SUFFIXES`, and those in `SYSTEM_NAMES` too.

    Raises:
      OSError: a folder cannot be listed.
    """
    yield from _walk(folder, set(), tally, as_before)


def _walk(
    folder: str, visited: set[object], tally: Tally | None, as_before: bool
) -> Iterator[str]:
    identity = files.identity(folder)
    if identity in visited:
        return
    visited.add(identity)
    for entry in visible(folder, as_before=as_before):
        if is_folder(entry):
            yield from _walk(entry.path, visited, tally, as_before)
        elif is_image(entry, as_before=as_before):
            yield entry.path
        elif tally is not None:
            tally.add(entry.name, NOT_AN_IMAGE)


def visible(folder: str, *, as_before: bool = False) -> list[files.Entry]:
    """Returns the entries of a folder, sorted by name.

    Hidden names and `SYSTEM_NAMES` are left out; with `as_before`, of the
    latter only `__MACOSX`.
    """
    return sorted(
        (
            entry
            for entry in files.scan(folder)
            if not _is_hidden(entry.name, as_before)
        ),
        key=lambda entry: entry.name,
    )


def _is_hidden(name: str, as_before: bool) -> bool:
    if as_before:
        return name.startswith(".") or name == "__MACOSX"
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_folder(entry: files.Entry) -> bool:
    """Returns whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def is_image(entry: files.Entry, *, as_before: bool = False) -> bool:
    """Returns whether an entry is the file of an image.

    The suffix of a supported format is enough: if the content differs, the
    check reports the file. A broken link with such a suffix counts too.

    Args:
      entry: an entry of a folder.
      as_before: whether only `SUFFIXES` count; no file is opened.
    """
    if as_before:
        return entry.name.lower().endswith(SUFFIXES) and not is_folder(entry)
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in _IMAGES:
        return not is_folder(entry)
    if suffix in _TEXTS or is_folder(entry):
        return False
    try:
        return looks_like_image(files.read(entry.path, 0, SIGNATURE_BYTES))
    except OSError:  # Not a regular file, or not readable.
        return False


def is_archive(name: str) -> bool:
    """Returns whether a file name is that of an archive, such as photos.zip."""
    return name.lower().endswith(_ARCHIVES)
