"""Whole files that are cached beside the rows.

A file is named by everything that determines it, and written aside and
renamed into place. A digest stands in front of its content, so that a
truncated or damaged file is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from trainer.cache.disk import (
    CONTENT,
    WHOLE,
    CacheFolder,
    CacheRefusedError,
    key_of,
    remove_entry,
    touch,
)

_DIGEST_BYTES = 16


class FileCache:
    """Files by what determines them; broken or missing ones are just absent.

    The least recently used entries of the folder go, files and rows alike,
    when others need the room.
    """

    def __init__(self, disk: CacheFolder | None) -> None:
        """Args:
        disk: the cache's folder; None caches nothing.
        """
        self._disk = disk

    def read(self, key_fields: Mapping[str, Any]) -> bytes | None:
        """Returns the content cached under a name.

        Args:
          key_fields: everything that determines it, as JSON holds it.

        Returns:
          None where there is none, or no whole one.
        """
        place = self._place(key_fields)
        if place is None:
            return None
        try:
            with open(os.path.join(place, CONTENT), "rb") as stream:
                stored = stream.read()
        except OSError:
            return None
        touch(place)
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return content if digest == _digest(content) else None

    def write(self, key_fields: Mapping[str, Any], content: bytes) -> None:
        """Caches a content, in place of an earlier one, if that can be done.

        Args:
          key_fields: see `read`.
          content: of the file.
        """
        # The run does not need it, and rows say what is wrong with the folder.
        with contextlib.suppress(OSError, CacheRefusedError):
            self._write(key_fields, content)

    def _write(self, key_fields: Mapping[str, Any], content: bytes) -> None:
        if self._disk is None or not self._disk.has_room(len(content)):
            return
        place = self._place(key_fields)
        if place is None:
            entry = self._disk.new_entry(key_of(key_fields))
            try:
                _store(entry, content)
                self._disk.publish(entry, WHOLE)
            except BaseException:
                remove_entry(entry)
                raise
        else:
            _store(place, content)

    def _place(self, key_fields: Mapping[str, Any]) -> str | None:
        """Returns the path of a file's entry, if it has one."""
        if self._disk is None:
            return None
        entries = self._disk.entries(key_of(key_fields))
        return next((e for e in entries if e.endswith(WHOLE)), None)


def _store(entry: str, content: bytes) -> None:
    """Writes the content of an entry in one move."""
    handle, aside = tempfile.mkstemp(prefix=f".{CONTENT}-", dir=entry)
    try:
        with open(handle, "wb") as stream:
            stream.write(_digest(content) + content)
        os.replace(aside, os.path.join(entry, CONTENT))
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(aside)
        raise


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
