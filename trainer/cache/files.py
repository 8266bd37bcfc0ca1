"""Cache of whole files, in the same folder as the rows.

A file's key is a hash of everything that determines it. The file is written
under a temporary name and renamed. It begins with a digest of its content, so
a truncated or damaged file is detected.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from trainer.cache.disk import CacheFolder, CacheRefusedError, key_of
from trainer.cache.entries import CONTENT, WHOLE, remove_entry, touch

_DIGEST_BYTES = 16


class FileCache:
    """Cached files, by key; a damaged file counts as missing.

    If the folder is full, the least recently used entries, files and rows
    alike, are removed to make room.
    """

    def __init__(self, disk: CacheFolder | None) -> None:
        """Creates the cache; the file system is not touched.

        Args:
          disk: the cache's folder; None caches nothing.
        """
        self._disk = disk

    def read(self, key_fields: Mapping[str, Any]) -> bytes | None:
        """Returns the content that is cached under a key.

        Args:
          key_fields: everything that determines the content, as values that
            JSON can represent.

        Returns:
          None if the file is missing or damaged.
        """
        entry = self._find_entry(key_fields)
        if entry is None:
            return None
        try:
            with open(os.path.join(entry, CONTENT), "rb") as stream:
                stored = stream.read()
        except OSError:
            return None
        touch(entry)
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return content if digest == _digest(content) else None

    def write(self, key_fields: Mapping[str, Any], content: bytes) -> None:
        """Caches a content, replacing an earlier one, if that is possible.

        Args:
          key_fields: see `read`.
          content: the bytes to cache.
        """
        # A run works without the file, and the cache of rows reports what is
        # wrong with the folder.
        with contextlib.suppress(OSError, CacheRefusedError):
            self._write(key_fields, content)

    def _write(self, key_fields: Mapping[str, Any], content: bytes) -> None:
        if self._disk is None or not self._disk.has_room(len(content)):
            return
        entry = self._find_entry(key_fields)
        if entry is None:
            entry = self._disk.new_entry(key_of(key_fields))
            try:
                _store(entry, content)
                self._disk.publish(entry, WHOLE)
            except BaseException:
                remove_entry(entry)
                raise
        else:
            _store(entry, content)

    def _find_entry(self, key_fields: Mapping[str, Any]) -> str | None:
        """Returns the path of a file's entry; None if it is missing."""
        if self._disk is None:
            return None
        entries = self._disk.entries(key_of(key_fields))
        return next((e for e in entries if e.endswith(WHOLE)), None)


def _store(entry: str, content: bytes) -> None:
    """Replaces the content of an entry atomically."""
    handle, temporary = tempfile.mkstemp(prefix=f".{CONTENT}-", dir=entry)
    try:
        with open(handle, "wb") as stream:
            stream.write(_digest(content) + content)
        os.replace(temporary, os.path.join(entry, CONTENT))
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
