"""Every file that a person names: a path of this machine, or a URL.

A path with a scheme (`gs://bucket/run`) goes to `remote.py`; any other to the
operating system. Both raise OSError. No other module opens, lists, looks at,
writes, moves or removes such a file by itself; a test sees to it.
"""

from __future__ import annotations

import contextlib
import errno
import glob as local_glob
import os
import shutil
import stat as stat_module
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol, TextIO

from trainer import remote

_BLOCK = 1 << 20
# Windows has neither.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


class Entry(Protocol):
    """A name in a listing."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def is_dir(self) -> bool: ...


class Stat(Protocol):
    """Of a file, as `os.stat` has it."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


def is_remote(path: str) -> bool:
    """Whether a path is a URL, which TensorFlow resolves."""
    return "://" in path


def absolute(path: str) -> str:
    """The same place in one form; of a URL without a slash behind."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def exists(path: str) -> bool:
    """Whether something is there, be it a link to nowhere."""
    if is_remote(path):
        return remote.exists(path)
    return os.path.lexists(path)


def is_dir(path: str) -> bool:
    """Whether a folder is there."""
    return remote.is_dir(path) if is_remote(path) else os.path.isdir(path)


def is_file(path: str) -> bool:
    """Whether a file is there that can be read to its end."""
    if is_remote(path):
        return remote.exists(path) and not remote.is_dir(path)
    return os.path.isfile(path)


def stat(path: str) -> Stat:
    """Kind, size and time of a file."""
    return remote.stat(path) if is_remote(path) else os.stat(path)


def identity(folder: str) -> object:
    """What two names of one folder have in common; URLs have one name."""
    if is_remote(folder):
        return folder
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def scan(folder: str) -> list[Entry]:
    """What is in a folder, in any order."""
    if is_remote(folder):
        return list(remote.scan(folder))
    with os.scandir(folder) as entries:
        return list(entries)


def names(folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no folder."""
    if is_remote(folder):
        try:
            return sorted(entry.name for entry in remote.scan(folder))
        except FileNotFoundError:
            return []
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """See `os.walk`."""
    return remote.walk(folder) if is_remote(folder) else os.walk(folder)


def glob(pattern: str) -> list[str]:
    """See `glob.glob`; `**` stands for any depth."""
    if is_remote(pattern):
        return remote.glob(pattern)
    return local_glob.glob(pattern, recursive=True)


def read(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """A file's bytes, or those from an offset on."""
    if is_remote(path):
        return remote.read(path, offset, length)
    with open_regular(path) as stream:
        if offset:
            stream.seek(offset)
        return stream.read(-1 if length is None else length)


def open_regular(path: str) -> BinaryIO:
    """Opens a local file for reading; links are followed.

    Raises:
      OSError: it cannot be opened, or is not a regular file. A pipe would wait
        for a writer, and a device may never end.
    """
    fd = os.open(path, os.O_RDONLY | _NONBLOCK | _CLOEXEC)
    if not stat_module.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise not_regular(path)
    return os.fdopen(fd, "rb")


def not_regular(path: str) -> OSError:
    """Returns the error for a pipe, device, socket or folder."""
    return OSError(errno.EINVAL, "not a regular file", path)


def read_end(path: str, length: int) -> bytes:
    """The last bytes of a file, fewer where it is shorter."""
    return read(path, max(0, stat(path).st_size - length), length)


def read_text(path: str) -> str:
    """A text file in UTF-8."""
    return read(path).decode("utf-8")


def blocks(path: str) -> Iterator[bytes]:
    """A file's bytes, a piece at a time; of a URL, of a local copy."""
    with open_regular(fetched(path)) as stream:
        while block := stream.read(_BLOCK):
            yield block


def fetched(path: str) -> str:
    """A local path with the same content, for libraries that open no URL.

    Raises:
      OSError: it cannot be reached, or is not a regular file.
    """
    if is_remote(path):
        return remote.fetched(path)
    if not stat_module.S_ISREG(os.stat(path).st_mode):
        raise not_regular(path)
    return path


def write_text(path: str, text: str) -> None:
    """Replaces a text file in one move, and makes its folder if need be.

    Of bytes in a path that are no text it makes escapes, as JSON has them.
    """
    if is_remote(path):
        remote.write(path, text.encode("utf-8", "backslashreplace"))
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    partial = f"{path}.partial"
    with open(
        partial, "w", encoding="utf-8", errors="backslashreplace"
    ) as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


@contextlib.contextmanager
def text_stream(path: str) -> Iterator[TextIO]:
    """A text to be written bit by bit; the file is there when it is whole."""
    partial = f"{path}.partial"
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            # Whether it can be written is found out before, not after.
            remote.write(partial, b"")
            remote.discard(partial)
            held = os.path.join(folder, "text")
            with open(held, "w", encoding="utf-8", newline="") as stream:
                yield stream
            remote.upload(held, path)
        return
    with open(partial, "w", encoding="utf-8", newline="") as stream:
        yield stream
    os.replace(partial, path)


def append_text(path: str, text: str) -> None:
    """Adds to a text file, or begins it."""
    if is_remote(path):
        remote.append(path, text.encode("utf-8", "backslashreplace"))
        return
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)


def truncate(path: str, size: int) -> None:
    """Drops what is behind the first `size` bytes."""
    if is_remote(path):
        remote.write(path, remote.read(path, 0, size))
    else:
        os.truncate(path, size)


def synced_size(path: str) -> int:
    """Bytes of a file, all of which are safely stored when this returns."""
    if is_remote(path):
        # What an object holds was stored when it was written.
        return remote.stat(path).st_size
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
    return os.path.getsize(path)


def make_dirs(folder: str) -> None:
    """Makes a folder and those above it, where they are not there."""
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
    """Removes a folder that nothing is in."""
    if is_remote(folder):
        remote.remove_mark(folder)
    else:
        os.rmdir(folder)


def remove_tree(folder: str) -> None:
    """Removes a folder with all below it."""
    if is_remote(folder):
        remote.remove_tree(folder)
    else:
        shutil.rmtree(folder)
