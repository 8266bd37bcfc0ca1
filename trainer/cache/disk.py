"""The cache's folder: who may use it, and what may be removed from it.

BASE/transfer-trainer-cache/   mode 0700; holds CACHEDIR.TAG
  KEY/                         24 hexadecimal digits
    rows-TOKEN/                one segment of rows, see `segments`
    whole/                     one file, see `files`
    .new-TOKEN/                an entry that is being written
    .gone-TOKEN/               an entry that is being removed

Each entry holds a marker file from its first moment. What lacks the marker,
or has another name, is not the cache's and is never touched. Everything in
the folder is trusted, so it must belong to this user and be closed to others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Set
from typing import Any

from trainer.storage import files

NAME = "transfer-trainer-cache"
ROWS, WHOLE = "rows-", "whole"
SEGMENT, CONTENT = "segment.json", "content"
_TAG = "CACHEDIR.TAG"
# By https://bford.info/cachedir/, so that backups leave the folder out.
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_TAG_TEXT = (
    f"{_SIGNATURE}\n# A cache of transfer-trainer; it may be removed whole.\n"
)
MARKER = ".transfer-trainer-entry"
_NEW, _GONE = ".new-", ".gone-"
_TOKEN = "[a-z0-9_]{8}"
_KEY = re.compile("[0-9a-f]{24}")
_ENTRY = re.compile(rf"rows-{_TOKEN}|whole|\.(new|gone)-{_TOKEN}")
_FILE = re.compile(
    rf"\d+\.rows|segment\.json|content|\.content-{_TOKEN}"
    rf"|{re.escape(MARKER)}"
)
# A new number makes what earlier versions wrote unread.
_FORMAT = 2
# No process takes so long between two writes to an entry.
_STALE_SECONDS = 24 * 3600


class CacheRefusedError(Exception):
    """The folder may not be used; the message says why, and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    """One entry: its path, time of last use and size in bytes."""

    path: str
    used: float
    size: int

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


class CacheFolder:
    """The folder that rows and files are cached in."""

    def __init__(self, base: str, *, disk_bytes: int) -> None:
        """Args:
        base: folder that holds the cache's own; neither need be there.
        disk_bytes: what all entries may take.
        """
        self.base, self.disk_bytes = base, disk_bytes
        self.path = os.path.join(base, NAME)

    def check(self) -> None:
        """Checks that the folder is this user's and the cache's own.

        Raises:
          CacheRefusedError: it is there, and is not to be used.
          OSError: it cannot be looked at.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode):
            raise CacheRefusedError(f"{self.path} is not a folder; remove it")
        owner = found.st_uid
        if hasattr(os, "geteuid") and owner != os.geteuid():
            raise CacheRefusedError(
                f"{self.path} belongs to user {owner}, not to this user"
                f" ({os.geteuid()}), who could be given wrong features;"
                " give a --cache_dir of your own"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CacheRefusedError(
                f"{self.path} can be written to by others"
                f" (mode {stat.S_IMODE(found.st_mode):04o}); remove it, or"
                f" run chmod 700 {self.path} if nobody else has used it"
            )
        names = os.listdir(self.path)
        if names and not self._is_tagged():
            raise CacheRefusedError(
                f"{self.path} has no {_TAG} and holds {min(names)!r}, so it"
                " is not a cache; move that away, or give another --cache_dir"
            )

    def _is_tagged(self) -> bool:
        try:
            with files.open_regular(os.path.join(self.path, _TAG)) as stream:
                return stream.read(len(_TAG_TEXT)) == _TAG_TEXT.encode()
        except OSError:
            return False

    def make(self) -> None:
        """Makes the folder where it is missing, whole or not at all.

        Raises:
          CacheRefusedError: see `check`.
          OSError: it cannot be made.
        """
        self.check()
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            os.makedirs(self.base, exist_ok=True)
            # Renamed into place with its tag, so that no other process finds
            # one without.
            new = tempfile.mkdtemp(prefix=f".{NAME}-", dir=self.base)
            tag = os.path.join(new, _TAG)
            try:
                _write_tag(tag)
                os.rename(new, self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.remove(tag)
                with contextlib.suppress(OSError):
                    os.rmdir(new)
                # Another process may have been faster; and an empty folder
                # behind a link cannot be replaced.
                if not os.path.isdir(self.path):
                    raise
                if not os.listdir(self.path):
                    _write_tag(os.path.join(self.path, _TAG))
        self.check()

    def folder_of(self, key: str) -> str:
        """Returns the folder of all entries under a key."""
        return os.path.join(self.path, key)

    def entries(self, key: str) -> list[str]:
        """Returns the paths of finished entries under a key, sorted."""
        return sorted(
            entry.path
            for entry in _entries(self.folder_of(key))
            if not entry.name.startswith(".")
        )

    def new_entry(self, key: str) -> str:
        """Makes a folder for an entry that is to be written; see `publish`.

        Raises:
          CacheRefusedError, OSError: see `make`.
        """
        self.make()
        folder = self.folder_of(key)
        os.makedirs(folder, exist_ok=True)
        entry = tempfile.mkdtemp(prefix=_NEW, dir=folder)
        with open(os.path.join(entry, MARKER), "x"):
            pass
        return entry

    def publish(self, entry: str, name: str) -> str:
        """Gives a finished entry its name; returns its path.

        Args:
          entry: from `new_entry`.
          name: `ROWS`, to which a token is added, or `WHOLE`.

        Raises:
          OSError: an entry of that name is there, among other reasons.
        """
        folder, token = os.path.split(entry)
        if name == ROWS:
            name += token.removeprefix(_NEW)
        path = os.path.join(folder, name)
        os.rename(entry, path)
        return path

    def has_room(self, size: int, held: Set[str | None] = frozenset()) -> bool:
        """Whether something may be added, others removed for it if need be.

        Args:
          size: of what is to be added, bytes.
          held: paths of entries that stay.

        Raises:
          CacheRefusedError, OSError: see `make`.
        """
        if size > self.disk_bytes:
            return False
        self.make()
        self._make_room(self.disk_bytes - size, held)
        # A cache must not fill the disk that checkpoints go to.
        return size < shutil.disk_usage(self.path).free // 2

    def _make_room(self, bound: int, held: Set[str | None]) -> None:
        """Removes the least recently used entries until `bound` bytes are left.

        Entries that this process holds stay. What killed processes left
        half written goes first.
        """
        found = []
        for key in os.listdir(self.path):
            if not _KEY.fullmatch(key):
                continue
            for entry in _entries(self.folder_of(key)):
                if entry.name.startswith("."):
                    if entry.used < time.time() - _STALE_SECONDS:
                        _delete(entry.path)
                    continue
                found.append(entry)
        total = sum(entry.size for entry in found)
        for entry in sorted(found, key=lambda e: (e.used, e.size, e.path)):
            if total <= bound:
                return
            if entry.path not in held:
                remove_entry(entry.path)
                total -= entry.size


def _write_tag(path: str) -> None:
    with open(path, "x", encoding="ascii") as stream:
        stream.write(_TAG_TEXT)


def remove_entry(path: str) -> None:
    """Removes an entry, at once for whoever looks for it.

    Does nothing where it is gone already, or is not an entry of the cache.
    """
    if not _is_entry(path):
        return
    folder = os.path.dirname(path)
    try:
        gone = tempfile.mkdtemp(prefix=_GONE, dir=folder)
        # Onto an empty folder, which a rename replaces.
        os.rename(path, gone)
    except OSError:
        # Another process was faster, or the folder is read-only.
        return
    _delete(gone)


def _delete(entry: str) -> None:
    """Deletes an entry's own files, the marker last; strange files stay."""
    if not _is_entry(entry):
        return
    with contextlib.suppress(OSError):
        names = [name for name in os.listdir(entry) if _FILE.fullmatch(name)]
        for name in sorted(names, key=lambda name: name == MARKER):
            path = os.path.join(entry, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.remove(path)
        os.rmdir(entry)


def _is_entry(path: str) -> bool:
    """Whether a path is an entry by its name, its place and its marker."""
    folder, name = os.path.split(path)
    if not _ENTRY.fullmatch(name):
        return False
    if not _KEY.fullmatch(os.path.basename(folder)):
        return False
    try:
        marker = os.lstat(os.path.join(path, MARKER))
        return stat.S_ISDIR(os.lstat(path).st_mode) and stat.S_ISREG(
            marker.st_mode
        )
    except OSError:
        return False


def _entries(folder: str) -> list[_Entry]:
    """Finds the entries in the folder of a key; others may remove them."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if _is_entry(path):
                with contextlib.suppress(OSError):
                    found.append(_look(path))
    return found


def _look(path: str) -> _Entry:
    """Returns size and time of an entry.

    Raises:
      OSError: it is gone.
    """
    used, size = os.stat(path).st_mtime, 0
    with os.scandir(path) as entries:
        for file in entries:
            status = file.stat(follow_symlinks=False)
            size += status.st_size
            if os.path.basename(path).startswith("."):
                # While an entry is written, only its files get new times.
                used = max(used, status.st_mtime)
    return _Entry(path=path, used=used, size=size)


def touch(path: str) -> None:
    """Notes that an entry was used; the least recently used goes first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def key_of(fields: Mapping[str, Any]) -> str:
    """Returns the name of what is cached, by everything that determines it."""
    text = json.dumps({"format": _FORMAT, **fields}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def earlier_cache(base: str) -> str | None:
    """Returns the cache that a version before 0.2 kept in this folder.

    It kept its keys in the folder itself, or by default in a folder
    `transfer-trainer`, and is no longer read.
    """
    for folder in (base, f"{base}/transfer-trainer"):
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if _KEY.fullmatch(name) and os.path.isdir(
                    os.path.join(folder, name)
                ):
                    return folder
    return None
