"""Files behind a URL, such as `gs://bucket/run`, by `tf.io.gfile`.

What is written here holds for object stores, which know whole objects only:

- An object is written under a name aside and moved, one object at a time. Not
  every scheme writes at once what it is given, and some add to what is there.
- Nothing is appended to or cut: the object is written anew.
- No folder is moved, there is no fsync, and nothing is locked or mapped.

Errors are those of the operating system, so that who calls need not tell
local paths from others. TensorFlow is imported when the first URL is met.
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
# Of these alone it is known that a listing marks folders, by a slash behind;
# elsewhere each name is asked about.
_MARKING = ("gs",)


class Stat(NamedTuple):
    """What of `os.stat_result` is known of an object; the same names.

    Attributes:
      st_mode: of a regular file or of a folder; no permissions.
      st_size: bytes.
      st_mtime_ns: when it was written; now, where the store does not say, so
        that nothing is taken for unchanged.
      st_ctime_ns: the same, as objects are only ever written whole.
    """

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """What of `os.DirEntry` is known of a name in a listing."""

    name: str
    path: str
    marked: bool | None

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return is_dir(self.path) if self.marked is None else self.marked


def _gfile(path: str) -> Any:
    """`tf.io.gfile`, if it can reach the path.

    Raises:
      UsageError: nobody has told TensorFlow how.
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
    """Makes OSErrors of TensorFlow's errors."""
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
    """Whether there is such an object or folder."""
    with _os_errors(path):
        return bool(_gfile(path).exists(path))


def is_dir(path: str) -> bool:
    """Whether there are objects below the path, or a folder is marked."""
    with _os_errors(path):
        return bool(_gfile(path).isdir(path))


def stat(path: str) -> Stat:
    """Kind, size and time of an object."""
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
    """What is in a folder."""
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
    """As `glob.glob(pattern, recursive=True)`; not in a bucket's name."""
    scheme, _, rest = pattern.partition("://")
    bucket, *parts = rest.split("/")
    return list(_expand(f"{scheme}://{bucket}", [p for p in parts if p]))


def _expand(folder: str, parts: list[str]) -> Iterator[str]:
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
    """An object's bytes, or some of them; no more is fetched than is near."""
    with _os_errors(path), _gfile(path).GFile(path, "rb") as stream:
        if offset:
            stream.seek(offset)
        return bytes(stream.read(-1 if length is None else length))


def write(path: str, data: bytes) -> None:
    """Writes an object; at any time its old or its new content is read."""
    with _aside(path) as partial, _gfile(path).GFile(partial, "wb") as stream:
        stream.write(data)


def upload(source: str, path: str) -> None:
    """Copies a local file to an object, as `write` does."""
    with _aside(path) as partial:
        _gfile(path).copy(source, partial, overwrite=True)


@contextlib.contextmanager
def _aside(path: str) -> Iterator[str]:
    """Another name, moved over the path once the block has gone well."""
    # A name of its own, for two processes may write at a time.
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
    """Writes an object anew, with more behind."""
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
    """Removes an object where there is one."""
    with contextlib.suppress(FileNotFoundError):
        remove(path)


def remove_tree(folder: str) -> None:
    """Removes a folder with all below it."""
    with _os_errors(folder):
        _gfile(folder).rmtree(folder)


def remove_mark(folder: str) -> None:
    """Removes an empty folder, which is an object with a slash behind."""
    if not scan(folder):
        # Not as a tree: another process may have written to it just now.
        remove(f"{folder.rstrip('/')}/")


def make_dirs(folder: str) -> None:
    """Marks a folder, where the scheme knows of folders."""
    with _os_errors(folder):
        _gfile(folder).makedirs(folder)


def fetched(path: str) -> str:
    """A local copy, for libraries that read local files only.

    It is fetched once, unless the object changes, and kept until the process
    ends.
    """
    found = stat(path)
    key = f"{path} {found.st_size} {found.st_mtime_ns}"
    folder = os.path.join(
        _own_folder(), hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    )
    copy = os.path.join(folder, os.path.basename(path))
    if not os.path.exists(copy):
        os.makedirs(folder, exist_ok=True)
        with _os_errors(path):
            # Threads may want the same one at the same time.
            partial = f"{copy}.{threading.get_ident()}.partial"
            _gfile(path).copy(path, partial, overwrite=True)
        os.replace(partial, copy)
    return copy


@functools.cache
def _own_folder() -> str:
    folder = tempfile.mkdtemp(prefix="trainer-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
