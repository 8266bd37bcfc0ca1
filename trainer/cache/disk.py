"""The cache's folder: its layout, its owner and its size limit.

BASE/transfer-trainer-cache/   mode 0700; holds CACHEDIR.TAG
  KEY/                         24 hexadecimal digits
    rows-TOKEN/                one segment of rows; see `segments`
    whole/                     one file; see `files`
    .new-TOKEN/                an entry that is being written
    .gone-TOKEN/               an entry that is being removed

Everything in the folder is trusted. So it must belong to this user, and nobody
else may write to it. See `entries` for the folders that are never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Set
from typing import Any

from trainer.cache.entries import (
    KEY_PATTERN,
    MARKER,
    NEW,
    ROWS,
    delete_entry,
    find_entries,
    remove_entry,
)
from trainer.storage import files

NAME = "transfer-trainer-cache"
_TAG = "CACHEDIR.TAG"
# See https://bford.info/cachedir/: backup programs skip such a folder.
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_TAG_TEXT = (
    f"{_SIGNATURE}\n# A cache of transfer-trainer; it may be removed whole.\n"
)
# A part of every key, so a new number invalidates all earlier entries.
_FORMAT = 2
# No process pauses so long between two writes to an entry.
_STALE_SECONDS = 24 * 3600


class CacheRefusedError(Exception):
    """The folder must not be used; the message states the reason and remedy."""


class CacheFolder:
    """The folder that rows and files are cached in."""

    def __init__(self, base: str, *, disk_bytes: int) -> None:
        """Creates the object; the file system is not touched.

        Args:
          base: the parent of the cache's folder; both may be missing.
          disk_bytes: the limit for the size of all entries.
        """
        self.base = base
        self.disk_bytes = disk_bytes
        self.path = os.path.join(base, NAME)

    def check(self) -> None:
        """Checks that the folder is missing or a private cache of this user.

        Raises:
          CacheRefusedError: the folder must not be used.
          OSError: the folder cannot be read.
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
                f" ({os.geteuid()}), so its features may be wrong; give a"
                " --cache_dir of your own"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CacheRefusedError(
                f"{self.path} is writable by others"
                f" (mode {stat.S_IMODE(found.st_mode):04o}); remove it, or"
                f" run chmod 700 {self.path} if nobody else has used it"
            )
        names = os.listdir(self.path)
        if names and not self._is_tagged():
            raise CacheRefusedError(
                f"{self.path} has no {_TAG} and holds {min(names)!r}, so it"
                " is not a cache; move its files away, or give another"
                " --cache_dir"
            )

    def _is_tagged(self) -> bool:
        try:
            with files.open_regular(os.path.join(self.path, _TAG)) as stream:
                return stream.read(len(_TAG_TEXT)) == _TAG_TEXT.encode()
        except OSError:
            return False

    def make(self) -> None:
        """Creates the folder with its tag, if missing.

        Raises:
          CacheRefusedError: see `check`.
          OSError: the folder cannot be created.
        """
        self.check()
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            os.makedirs(self.base, exist_ok=True)
            # Renamed into place with its tag, so that no other process sees
            # the folder without it.
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
                # Another process may have created the folder, or it may be a
                # link to an empty one, which no rename can replace.
                if not os.path.isdir(self.path):
                    raise
                if not os.listdir(self.path):
                    _write_tag(os.path.join(self.path, _TAG))
        self.check()

    def folder_of(self, key: str) -> str:
        """Returns the folder that holds all entries of a key."""
        return os.path.join(self.path, key)

    def entries(self, key: str) -> list[str]:
        """Returns the paths of the finished entries of a key, sorted."""
        return sorted(
            entry.path
            for entry in find_entries(self.folder_of(key))
            if not entry.name.startswith(".")
        )

    def new_entry(self, key: str) -> str:
        """Creates the folder of an entry to be written; see `publish`.

        Raises:
          CacheRefusedError, OSError: see `make`.
        """
        self.make()
        folder = self.folder_of(key)
        os.makedirs(folder, exist_ok=True)
        entry = tempfile.mkdtemp(prefix=NEW, dir=folder)
        with open(os.path.join(entry, MARKER), "x"):
            pass
        return entry

    def publish(self, entry: str, name: str) -> str:
        """Renames a finished entry to its final name.

        Args:
          entry: the path that `new_entry` returned.
          name: `ROWS`, to which a token is added, or `WHOLE`.

        Returns:
          The entry's new path.

        Raises:
          OSError: the entry cannot be renamed, for instance because one of
            that name exists.
        """
        folder, token = os.path.split(entry)
        if name == ROWS:
            name += token.removeprefix(NEW)
        path = os.path.join(folder, name)
        os.rename(entry, path)
        return path

    def has_room(self, size: int, held: Set[str | None] = frozenset()) -> bool:
        """Returns whether an entry fits, and removes old ones to make room.

        Args:
          size: size of the new entry, bytes.
          held: paths of entries that must stay.

        Raises:
          CacheRefusedError, OSError: see `make`.
        """
        if size > self.disk_bytes:
            return False
        self.make()
        self._make_room(self.disk_bytes - size, held)
        return size < self._free()

    def free_bytes(self) -> int:
        """Returns the part of the disk's free space that entries may take.

        Raises:
          CacheRefusedError, OSError: see `make`.
        """
        self.make()
        return self._free()

    def _free(self) -> int:
        # Checkpoints may be on the same disk, and must still fit.
        return shutil.disk_usage(self.path).free // 2

    def _make_room(self, bound: int, held: Set[str | None]) -> None:
        """Removes entries until at most `bound` bytes are left.

        Incomplete entries of killed processes are removed first, then the
        least recently used ones. Entries in `held` stay.
        """
        found = []
        for key in os.listdir(self.path):
            if not KEY_PATTERN.fullmatch(key):
                continue
            for entry in find_entries(self.folder_of(key)):
                if entry.name.startswith("."):
                    if entry.used < time.time() - _STALE_SECONDS:
                        delete_entry(entry.path)
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


def key_of(fields: Mapping[str, Any]) -> str:
    """Returns the key of an entry: a hash of everything that determines it.

    Args:
      fields: values that JSON can represent; their order does not matter.

    Returns:
      24 hexadecimal digits.
    """
    text = json.dumps({"format": _FORMAT, **fields}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def earlier_cache(base: str) -> str | None:
    """Returns the folder in which a version before 0.2 has cached.

    That version created its entries directly in the folder, or by default in
    a folder `transfer-trainer` there. They are no longer read.

    Args:
      base: the parent of the cache's folder.

    Returns:
      None if neither folder holds such entries.
    """
    for folder in (base, f"{base}/transfer-trainer"):
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if KEY_PATTERN.fullmatch(name) and os.path.isdir(
                    os.path.join(folder, name)
                ):
                    return folder
    return None
