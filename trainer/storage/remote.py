"""Files at a URL, such as `gs://bucket/run`, by `tf.io.gfile`.

The module relies only on what object stores offer, which is whole objects:

- An object is written under a temporary name and renamed. Some schemes write
  later than the call returns, and some append to an existing object.
- Appending and truncating rewrite the whole object.
- Folders are never renamed. Nothing is synced, locked or memory-mapped.

All errors are OSError, so callers handle local paths and URLs alike.
TensorFlow is imported when the first URL is used.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import fnmatch
import functools
import hashlib
import os
import shutil
import stat as modes
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from trainer.errors import UsageError, shortened

_MAGIC = frozenset("*?[")
# Schemes whose listings mark folders by a trailing slash. For other schemes,
# one more request per name tells folders from objects.
_MARKING = ("gs",)


class Stat(NamedTuple):
    """The fields of `os.stat_result` that are known for an object.

    Attributes:
      st_mode: the type, regular file or folder, without permissions.
      st_size: size in bytes.
      st_mtime_ns: time of the last write, nanoseconds; the current time if the
        store reports none, so that no object is mistaken for unchanged.
      st_ctime_ns: the same, because objects are only written whole.
    """

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name in a listing, with the fields of `os.DirEntry`.

    Attributes:
      name: the name within the folder.
      path: the folder's path and the name.
      marked: whether the listing marks the name as a folder; None if listings
        of this scheme do not tell.
    """

    name: str
    path: str
    marked: bool | None

    def is_dir(self) -> bool:
        """Returns whether the entry is a folder."""
        return is_dir(self.path) if self.marked is None else self.marked


def _gfile(path: str) -> Any:
    """Returns `tf.io.gfile`, if it supports the scheme of the path.

    Raises:
      UsageError: TensorFlow has no file system for the scheme.
    """
    import tensorflow as tf

    scheme = path.partition("://")[0]
    known = _schemes()
    if scheme not in known:
        raise UsageError(
            f"{path}: this TensorFlow has no file system for {scheme}://; it"
            f" has {', '.join(f'{name}://' for name in sorted(known))}"
        )
    return tf.io.gfile


@functools.cache
def _schemes() -> frozenset[str]:
    import tensorflow as tf

    return frozenset(filter(None, tf.io.gfile.get_registered_schemes()))


@contextlib.contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Turns errors of TensorFlow into OSError."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        numbers = {
            tf.errors.NotFoundError: errno.ENOENT,
            tf.errors.PermissionDeniedError: errno.EACCES,
            tf.errors.UnauthenticatedError: errno.EACCES,
            tf.errors.AlreadyExistsError: errno.EEXIST,
            tf.errors.InvalidArgumentError: errno.EINVAL,
        }
        number = numbers.get(type(error), errno.EIO)
        lines = str(error.message or "").strip().splitlines()
        reason = shortened(lines[0]) if lines else os.strerror(number)
        raise OSError(number, reason, path) from error
    except UnicodeEncodeError:
        raise OSError(errno.EINVAL, "not UTF-8", path) from None


def exists(path: str) -> bool:
    """Returns whether a path is an object or a folder."""
    with _os_errors(path):
        return bool(_gfile(path).exists(path))


def is_dir(path: str) -> bool:
    """Returns whether objects exist below a path, or it is marked a folder."""
    with _os_errors(path):
        return bool(_gfile(path).isdir(path))


def stat(path: str) -> Stat:
    """Returns type, size and time of an object."""
    with _os_errors(path):
        found = _gfile(path).stat(path)
    written = found.mtime_nsec or time.time_ns()
    return Stat(
        st_mode=modes.S_IFDIR if found.is_directory else modes.S_IFREG,
        st_size=found.length,
        st_mtime_ns=written,
        st_ctime_ns=written,
    )


def scan(folder: str) -> list[Entry]:
    """Returns the entries of a folder.

    Raises:
      FileNotFoundError: the folder is missing.
    """
    with _os_errors(folder):
        names = _gfile(folder).listdir(folder)
    marks = folder.partition("://")[0] in _MARKING
    entries = []
    for listed in names:
        name = listed.rstrip("/")
        marked = listed.endswith("/") if marks else None
        if name:
            entries.append(Entry(name, os.path.join(folder, name), marked))
    return entries


def glob(pattern: str) -> list[str]:
    """Returns the paths that match, as `glob.glob(pattern, recursive=True)`.

    Wildcards in the name of the bucket are not expanded.
    """
    scheme, _, rest = pattern.partition("://")
    bucket, *parts = rest.split("/")
    return list(_expand(f"{scheme}://{bucket}", [p for p in parts if p]))


def _expand(folder: str, parts: list[str]) -> Iterator[str]:
    """Yields the paths below a folder that match the parts of a pattern."""
    if not parts:
        yield folder
        return
    head, tail = parts[0], parts[1:]
    if not _MAGIC & set(head):
        path = os.path.join(folder, head)
        if tail or exists(path):
            yield from _expand(path, tail)
        return
    if head == "**":
        yield from _expand(folder, tail)
    entries = []
    with contextlib.suppress(FileNotFoundError):
        entries = scan(folder)
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.name.startswith(".") and not head.startswith("."):
            continue
        if head == "**":
            if entry.is_dir():
                yield from _expand(entry.path, parts)
            elif not tail:
                yield entry.path
        elif fnmatch.fnmatchcase(entry.name, head) and (
            not tail or entry.is_dir()
        ):
            yield from _expand(entry.path, tail)


def read(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Returns the bytes of an object; fetches only the requested range."""
    with _os_errors(path), _gfile(path).GFile(path, "rb") as stream:
        if offset:
            stream.seek(offset)
        return bytes(stream.read(-1 if length is None else length))


def write(path: str, data: bytes) -> None:
    """Replaces an object; a reader sees the old content or the new one."""
    with (
        _replacing(path) as partial,
        _gfile(path).GFile(partial, "wb") as stream,
    ):
        stream.write(data)


def upload(source: str, path: str) -> None:
    """Replaces an object by the content of a local file; see `write`."""
    with _replacing(path) as partial:
        _gfile(path).copy(source, partial, overwrite=True)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Yields a temporary name, renamed to the path if the block succeeds."""
    # Random, because two processes may write the same object.
    partial = f"{path}.{uuid.uuid4().hex[:12]}.partial"
    gfile = _gfile(path)
    with _os_errors(path):
        try:
            yield partial
            gfile.rename(partial, path, overwrite=True)
        except BaseException:
            with contextlib.suppress(OSError):
                discard(partial)
            raise


def append(path: str, data: bytes) -> None:
    """Appends to an object by rewriting it; creates it if missing."""
    try:
        before = read(path)
    except FileNotFoundError:
        before = b""
    write(path, before + data)


def remove(path: str) -> None:
    """Removes an object."""
    with _os_errors(path):
        _gfile(path).remove(path)


def discard(path: str) -> None:
    """Removes an object, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        remove(path)


def remove_tree(folder: str) -> None:
    """Removes a folder and everything in it."""
    with _os_errors(folder):
        _gfile(folder).rmtree(folder)


def remove_mark(folder: str) -> None:
    """Removes an empty folder: an object whose name ends in a slash."""
    if not scan(folder):
        # Not with rmtree: another process may just have written to it.
        remove(f"{folder.rstrip('/')}/")


def make_dirs(folder: str) -> None:
    """Creates a folder, if the scheme has folders."""
    with _os_errors(folder):
        _gfile(folder).makedirs(folder)


def fetched(path: str) -> str:
    """Returns the path of a local copy, for libraries that open no URL.

    The copy is fetched once, and again if the object changes. It is deleted
    when the process ends.
    """
    found = stat(path)
    key = f"{path} {found.st_size} {found.st_mtime_ns}"
    folder = os.path.join(
        _copies_folder(),
        hashlib.blake2b(key.encode(), digest_size=8).hexdigest(),
    )
    copy = os.path.join(folder, os.path.basename(path))
    if not os.path.exists(copy):
        os.makedirs(folder, exist_ok=True)
        with _os_errors(path):
            # Several threads may fetch the same object.
            partial = f"{copy}.{threading.get_ident()}.partial"
            _gfile(path).copy(path, partial, overwrite=True)
        os.replace(partial, copy)
    return copy


@functools.cache
def _copies_folder() -> str:
    folder = tempfile.mkdtemp(prefix="trainer-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
