"""Files and folders that a person names: local paths, and URLs.

A path with a scheme (`gs://bucket/run`) goes to `remote`; any other path goes
to the operating system. Both raise OSError. Modules outside this package touch
such files only through this module, which also exports the functions of
`paths`, `regular` and `writing`; a test enforces it.
"""

from __future__ import annotations

import glob as local_glob
import os
import shutil
import stat as modes
from collections.abc import Iterator
from typing import Protocol

from trainer.storage import remote
from trainer.storage.paths import absolute, identity, is_remote
from trainer.storage.regular import (
    check_no_links,
    check_own,
    not_regular,
    open_own,
    open_regular,
)
from trainer.storage.writing import (
    PARTIAL,
    append_text,
    is_partial,
    output_stream,
    probe,
    synced_size,
    truncate,
    write_bytes,
    write_text,
)

__all__ = [
    "PARTIAL",
    "Entry",
    "Stat",
    "absolute",
    "append_text",
    "blocks",
    "check_no_links",
    "check_own",
    "exists",
    "fetched",
    "glob",
    "identity",
    "is_dir",
    "is_file",
    "is_partial",
    "is_remote",
    "make_dirs",
    "names",
    "open_own",
    "open_regular",
    "output_stream",
    "probe",
    "read",
    "read_end",
    "read_text",
    "remove",
    "remove_empty",
    "remove_tree",
    "scan",
    "stat",
    "synced_size",
    "truncate",
    "write_bytes",
    "write_text",
]

_BLOCK_BYTES = 1 << 20


class Entry(Protocol):
    """One name in a listing; `os.DirEntry` is one."""

    @property
    def name(self) -> str:
        """The name within the folder."""

    @property
    def path(self) -> str:
        """The folder's path and the name."""

    def is_dir(self) -> bool:
        """Returns whether the entry is a folder."""


class Stat(Protocol):
    """The facts about a file that callers use; `os.stat_result` has them."""

    @property
    def st_mode(self) -> int:
        """Type and permissions."""

    @property
    def st_size(self) -> int:
        """Size in bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """Time of the last write, nanoseconds."""

    @property
    def st_ctime_ns(self) -> int:
        """Time of the last change of the inode, nanoseconds."""


def exists(path: str) -> bool:
    """Returns whether a path exists; a broken link does."""
    if is_remote(path):
        return remote.exists(path)
    return os.path.lexists(path)


def is_dir(path: str) -> bool:
    """Returns whether a path is a folder."""
    return remote.is_dir(path) if is_remote(path) else os.path.isdir(path)


def is_file(path: str) -> bool:
    """Returns whether a path is a regular file or an object."""
    if is_remote(path):
        return remote.exists(path) and not remote.is_dir(path)
    return os.path.isfile(path)


def stat(path: str) -> Stat:
    """Returns type, size and times of a file; links are followed."""
    return remote.stat(path) if is_remote(path) else os.stat(path)


def scan(folder: str) -> list[Entry]:
    """Returns the entries of a folder, in any order."""
    if is_remote(folder):
        return list(remote.scan(folder))
    with os.scandir(folder) as entries:
        return list(entries)


def names(folder: str) -> list[str]:
    """Returns the names in a folder, sorted; none if it is missing."""
    if is_remote(folder):
        try:
            return sorted(entry.name for entry in remote.scan(folder))
        except FileNotFoundError:
            return []
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def glob(pattern: str) -> list[str]:
    """Returns the paths that match; `**` matches any number of folders."""
    if is_remote(pattern):
        return remote.glob(pattern)
    return local_glob.glob(pattern, recursive=True)


def read(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Returns the bytes of a file.

    Args:
      path: the file.
      offset: the first byte to read.
      length: number of bytes to read at most; None reads to the end.

    Raises:
      OSError: the file cannot be read, or is not a regular file.
    """
    if is_remote(path):
        return remote.read(path, offset, length)
    with open_regular(path) as stream:
        if offset:
            stream.seek(offset)
        return stream.read(-1 if length is None else length)


def read_end(path: str, length: int) -> bytes:
    """Returns the last `length` bytes of a file, or all if it is shorter."""
    return read(path, max(0, stat(path).st_size - length), length)


def read_text(path: str) -> str:
    """Returns the text of a UTF-8 file."""
    return read(path).decode("utf-8")


def blocks(path: str) -> Iterator[bytes]:
    """Yields the bytes of a file in blocks; a URL is copied here first."""
    with open_regular(fetched(path)) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def fetched(path: str) -> str:
    """Returns a local path with the same content, fetching a URL.

    For libraries that open local files only.

    Raises:
      OSError: the file cannot be reached, or is not a regular file.
    """
    if is_remote(path):
        return remote.fetched(path)
    if not modes.S_ISREG(os.stat(path).st_mode):
        raise not_regular(path)
    return path


def make_dirs(folder: str) -> None:
    """Creates a folder and its parents, where missing."""
    if is_remote(folder):
        remote.make_dirs(folder)
    else:
        os.makedirs(folder, exist_ok=True)


def remove(path: str) -> None:
    """Removes a file."""
    if is_remote(path):
        remote.remove(path)
    else:
        os.remove(path)


def remove_empty(folder: str) -> None:
    """Removes an empty folder."""
    if is_remote(folder):
        remote.remove_mark(folder)
    else:
        os.rmdir(folder)


def remove_tree(folder: str) -> None:
    """Removes a folder and everything in it."""
    if is_remote(folder):
        remote.remove_tree(folder)
    else:
        shutil.rmtree(folder)
