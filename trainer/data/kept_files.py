"""Whole files that are kept from run to run beside the rows of the cache.

A file is named by everything that determines it, and written aside and renamed
into place; in front of its content stands a digest of it, so that what is cut
or damaged is not taken for whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from trainer.data.kept import has_room, key_of

_DIGEST_BYTES = 16
_WHOLE, _CONTENT = "whole", "content"


class KeptFiles:
    """Files by what determines them; broken or missing ones are just absent.

    They lie where `kept.RowCache` keeps its segments, and go with them, least
    recently used first, when rows need the room.
    """

    def __init__(self, folder: str | None, *, disk_bytes: int) -> None:
        """Args:
        folder: of the cache; None keeps nothing.
        disk_bytes: what the whole folder may take.
        """
        self._folder, self._disk_bytes = folder, disk_bytes

    def read(self, kind: Mapping[str, Any]) -> bytes | None:
        """The content kept under a name.

        Args:
          kind: everything that determines it, as JSON holds it.

        Returns:
          None where there is none, or no whole one.
        """
        if self._folder is None:
            return None
        place = self._place(kind)
        try:
            with open(os.path.join(place, _CONTENT), "rb") as stream:
                stored = stream.read()
        except OSError:
            return None
        # The time by which the least recently used is found.
        with contextlib.suppress(OSError):
            os.utime(place)
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return content if digest == _digest(content) else None

    def write(self, kind: Mapping[str, Any], content: bytes) -> None:
        """Keeps a content, in place of an earlier one; at worst it does not.

        Args:
          kind: see `read`.
          content: of the file.
        """
        if self._folder is None:
            return
        place = self._place(kind)
        aside = ""
        try:
            os.makedirs(self._folder, exist_ok=True)
            if not has_room(self._folder, len(content), self._disk_bytes):
                return
            os.makedirs(place, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=".", dir=place)
            with open(handle, "wb") as stream:
                stream.write(_digest(content) + content)
            os.replace(aside, os.path.join(place, _CONTENT))
        except OSError:
            # The run does not need it, and rows say what is wrong with the
            # folder.
            with contextlib.suppress(OSError):
                os.remove(aside)

    def _place(self, kind: Mapping[str, Any]) -> str:
        assert self._folder is not None
        return os.path.join(self._folder, key_of(kind), _WHOLE)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
