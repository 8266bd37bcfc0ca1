"""Writing files: replacing them whole, and appending to the trainer's own.

A file that is replaced is written under a temporary name in the same folder,
and renamed. A kill leaves the old content or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any, TextIO

from trainer.storage import remote
from trainer.storage.paths import is_remote
from trainer.storage.regular import open_own

PARTIAL = ".partial"
_PARTIAL_NAME = re.compile(
    # The names of `_temporary`, `probe` and `remote.write`.
    r"\.[0-9a-f]{16}\.partial|\.probe-[0-9a-f]{16}\.partial"
    r"|.*\.[0-9a-f]{12}\.partial"
)


def is_partial(name: str) -> bool:
    """Returns whether an interrupted write may leave a file of this name."""
    return _PARTIAL_NAME.fullmatch(name) is not None


def write_text(path: str, text: str) -> None:
    """Replaces a text file; see `write_bytes`.

    The file is UTF-8; bytes of a path that are not valid text become backslash
    escapes, as in JSON.

    Raises:
      OSError: the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str, data: bytes) -> None:
    """Replaces a file atomically, and creates its folder if missing.

    A link of that name is replaced, not followed.

    Raises:
      OSError: the file cannot be written.
    """
    if is_remote(path):
        remote.write(path, data)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = _temporary(path)
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            _sync(stream)
        os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise


def _temporary(path: str) -> str:
    """Returns a new name in the folder of a path, to be opened with mode x.

    The name is random, so that nobody can place a link there in advance; mode
    x would reject it.
    """
    name = f".{secrets.token_hex(8)}{PARTIAL}"
    return os.path.join(os.path.dirname(path), name)


def _sync(stream: IO[Any]) -> None:
    """Flushes a file to storage; call before the file is renamed.

    Otherwise, after a power failure, the name could refer to a file whose
    content was never stored.
    """
    stream.flush()
    os.fsync(stream.fileno())


def _discard(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)


@contextlib.contextmanager
def output_stream(path: str) -> Iterator[TextIO]:
    """Opens an output file that a flag names, to be written piece by piece.

    A regular file, also one behind a link, is replaced when the block ends
    without an error, so it is complete or missing; like `write_text`, it is
    flushed to storage first. A pipe or a device is written to directly.

    Raises:
      OSError: the file cannot be written.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            # Reports a folder that cannot be written to before the work.
            probe(os.path.dirname(path))
            held = os.path.join(folder, "text")
            with open(held, "w", encoding="utf-8", newline="") as stream:
                yield stream
            remote.upload(held, path)
        return
    # Do not resolve links first: /dev/stdout may have no real path.
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    path = os.path.realpath(path)
    temporary = _temporary(path)
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as stream:
            yield stream
            _sync(stream)
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise


def append_text(path: str, text: str) -> None:
    """Appends to one of the trainer's own text files; creates it if missing.

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
    """Truncates one of the trainer's own files.

    Args:
      path: the file.
      size: number of bytes that stay.

    Raises:
      OSError: see `open_own`.
    """
    if is_remote(path):
        remote.write(path, remote.read(path, 0, size))
        return
    with os.fdopen(open_own(path, os.O_WRONLY), "wb") as stream:
        stream.truncate(size)


def synced_size(path: str) -> int:
    """Flushes a file to storage and returns its size in bytes.

    Raises:
      OSError: see `open_own`.
    """
    if is_remote(path):
        # An object is stored by the time its write returns.
        return remote.stat(path).st_size
    with os.fdopen(open_own(path, os.O_RDWR), "rb+") as stream:
        os.fsync(stream.fileno())
        return os.fstat(stream.fileno()).st_size


def probe(folder: str) -> None:
    """Checks that files can be created in a folder.

    Raises:
      OSError: a file cannot be created.
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
