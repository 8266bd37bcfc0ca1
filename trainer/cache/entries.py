"""Entries of the cache's folder: their names, and how one is removed.

An entry is a folder that holds one segment of rows or one whole file. Each
entry holds a marker file from the moment it is created. A folder without the
marker, or with another name, is not part of the cache and is never touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
import tempfile

ROWS = "rows-"
WHOLE = "whole"
SEGMENT = "segment.json"
CONTENT = "content"
MARKER = ".transfer-trainer-entry"
NEW = ".new-"
_GONE = ".gone-"
_TOKEN = "[a-z0-9_]{8}"
KEY_PATTERN = re.compile("[0-9a-f]{24}")
_ENTRY = re.compile(rf"rows-{_TOKEN}|whole|\.(new|gone)-{_TOKEN}")
_FILE = re.compile(
    rf"\d+\.rows|segment\.json|content|\.content-{_TOKEN}"
    rf"|{re.escape(MARKER)}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry: its path, the time of its last use and its size in bytes."""

    path: str
    used: float
    size: int

    @property
    def name(self) -> str:
        """The name of the entry's folder."""
        return os.path.basename(self.path)


def find_entries(folder: str) -> list[Entry]:
    """Returns the entries in the folder of a key, in any order.

    Entries that another process removes meanwhile are skipped.
    """
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if _is_entry(path):
                with contextlib.suppress(OSError):
                    found.append(_inspect(path))
    return found


def _is_entry(path: str) -> bool:
    """Returns whether a path has the name, place and marker of an entry."""
    folder, name = os.path.split(path)
    if not _ENTRY.fullmatch(name):
        return False
    if not KEY_PATTERN.fullmatch(os.path.basename(folder)):
        return False
    try:
        marker = os.lstat(os.path.join(path, MARKER))
        return stat.S_ISDIR(os.lstat(path).st_mode) and stat.S_ISREG(
            marker.st_mode
        )
    except OSError:
        return False


def _inspect(path: str) -> Entry:
    """Returns an entry with its size and time.

    Raises:
      OSError: the entry is missing.
    """
    used, size = os.stat(path).st_mtime, 0
    with os.scandir(path) as entries:
        for file in entries:
            status = file.stat(follow_symlinks=False)
            size += status.st_size
            if os.path.basename(path).startswith("."):
                # Writing to an entry's files updates their times only.
                used = max(used, status.st_mtime)
    return Entry(path=path, used=used, size=size)


def touch(path: str) -> None:
    """Marks an entry as used now; the least recently used is removed first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_entry(path: str) -> None:
    """Removes an entry; no other process sees half of it.

    Does nothing if the path is missing, or is not an entry of the cache.
    """
    if not _is_entry(path):
        return
    folder = os.path.dirname(path)
    try:
        gone = tempfile.mkdtemp(prefix=_GONE, dir=folder)
        # A rename replaces an empty folder.
        os.rename(path, gone)
    except OSError:
        # Another process has removed it, or the folder is read-only.
        return
    delete_entry(gone)


def delete_entry(entry: str) -> None:
    """Deletes the files of an entry, the marker last, and then its folder.

    Files that the cache did not write stay, and so does the folder then.
    """
    if not _is_entry(entry):
        return
    with contextlib.suppress(OSError):
        names = [name for name in os.listdir(entry) if _FILE.fullmatch(name)]
        for name in sorted(names, key=lambda name: name == MARKER):
            path = os.path.join(entry, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.remove(path)
        os.rmdir(entry)
