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
import re
import secrets
import shutil
import stat as stat_module
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol, TextIO

from trainer.storage import remote

_BLOCK = 1 << 20
# Windows has neither.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
PARTIAL = ".partial"
_PARTIAL_NAME = re.compile(
    # By `_aside`, `probe` and `remote.write`.
    r"\.[0-9a-f]{16}\.partial|\.probe-[0-9a-f]{16}\.partial"
    r"|.*\.[0-9a-f]{12}\.partial"
)


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

    A link of that name is replaced, not followed. Of bytes in a path that are
    no text it makes escapes, as JSON has them.
    """
    data = text.encode("utf-8", "backslashreplace")
    if is_remote(path):
        remote.write(path, data)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    aside = _aside(path)
    try:
        with open(aside, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        _discard(aside)
        raise


def _aside(path: str) -> str:
    """Returns the name of a new file beside a path, to be opened with mode x.

    Nobody can know it before and put a link there; mode x would refuse it.
    """
    name = f".{secrets.token_hex(8)}{PARTIAL}"
    return os.path.join(os.path.dirname(path), name)


def _discard(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)


def is_partial(name: str) -> bool:
    """Whether a name is one that an interrupted write may leave."""
    return _PARTIAL_NAME.fullmatch(name) is not None


@contextlib.contextmanager
def output_stream(path: str) -> Iterator[TextIO]:
    """Opens a text that a person has named as output, to be written in parts.

    A regular file is replaced in the end, behind a link too, so it is whole or
    not there. Anything else, such as a pipe or a device, is written to.

    Raises:
      OSError: it cannot be written.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            # Whether it can be written is found out before, not after.
            probe(os.path.dirname(path))
            held = os.path.join(folder, "text")
            with open(held, "w", encoding="utf-8", newline="") as stream:
                yield stream
            remote.upload(held, path)
        return
    # Not by its real path, which /dev/stdout may not have.
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    path = os.path.realpath(path)
    aside = _aside(path)
    try:
        with open(aside, "x", encoding="utf-8", newline="") as stream:
            yield stream
        if os.path.exists(path):
            shutil.copymode(path, aside)
        os.replace(aside, path)
    except BaseException:
        _discard(aside)
        raise


def open_own(path: str, flags: int) -> int:
    """Opens a local file of the trainer's own for writing.

    Args:
      path: where a folder that came from somebody else may hold a link, a
        pipe or a device of that name.
      flags: `os.O_WRONLY` or `os.O_RDWR`, with `O_CREAT` and `O_APPEND` or
        without.

    Returns:
      The descriptor.

    Raises:
      OSError: it cannot be opened, is a link, or is not a regular file.
    """
    check_own(path)
    fd = os.open(path, flags | _NOFOLLOW | _NONBLOCK | _CLOEXEC, 0o666)
    if not stat_module.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise not_regular(path)
    return fd


def check_own(path: str) -> None:
    """Checks that a local path is a regular file, if anything is there.

    Raises:
      OSError: it is a link, or no regular file.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat_module.S_ISLNK(mode):
        raise OSError(
            errno.ELOOP, "a link, which is not written through; remove it", path
        )
    if not stat_module.S_ISREG(mode):
        raise not_regular(path)


def check_no_links(folder: str) -> None:
    """Checks that no name in a local folder is a link.

    TensorFlow writes checkpoints by name, and would follow one.

    Raises:
      OSError: one is, or the folder cannot be listed. A folder that is not
        there holds none.
    """
    if is_remote(folder) or not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                check_own(entry.path)


def append_text(path: str, text: str) -> None:
    """Adds to a text file of the trainer's own, or begins it.

    Raises:
      OSError: see `open_own`.
    """
    data = text.encode("utf-8", "backslashreplace")
    if is_remote(path):
        remote.append(path, data)
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with os.fdopen(open_own(path, flags), "ab") as stream:
        stream.write(data)


def truncate(path: str, size: int) -> None:
    """Drops what is behind the first `size` bytes of a file of the trainer's.

    Raises:
      OSError: see `open_own`.
    """
    if is_remote(path):
        remote.write(path, remote.read(path, 0, size))
        return
    with os.fdopen(open_own(path, os.O_WRONLY), "wb") as stream:
        stream.truncate(size)


def synced_size(path: str) -> int:
    """Bytes of a file, all of which are safely stored when this returns.

    Raises:
      OSError: see `open_own`.
    """
    if is_remote(path):
        # What an object holds was stored when it was written.
        return remote.stat(path).st_size
    with os.fdopen(open_own(path, os.O_RDWR), "rb+") as stream:
        os.fsync(stream.fileno())
        return os.fstat(stream.fileno()).st_size


def probe(folder: str) -> None:
    """Checks that files can be made in a folder.

    Raises:
      OSError: they cannot.
    """
    path = os.path.join(folder, f".probe-{secrets.token_hex(8)}{PARTIAL}")
    if is_remote(folder):
        try:
            remote.write(path, b"probe")
        finally:
            remote.discard(path)
        return
    with open(path, "xb") as stream:
        stream.write(b"probe")
    os.remove(path)


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
