"""A segment of cached rows: a folder with one file per array, and an index.

`N.rows` holds the rows of array N, one after the other. `segment.json` holds
the digests of the rows, the format of the arrays and a checksum of each file.
A segment is complete when its folder gets its final name, and never changes.

Files are read, never memory-mapped. Reading a mapped page of a file that
another process has truncated ends the process with SIGBUS, and so does writing
to a mapped page on a full disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer.cache.entries import SEGMENT

_BLOCK_BYTES = 1 << 22
_MAX_INDEX_BYTES = 1 << 30
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSpec:
    """The format of one array of a row."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size of one row in bytes."""
        return (
            int(np.prod(self.shape, dtype=np.int64))
            * np.dtype(self.dtype).itemsize
        )

    def to_json(self) -> list[Any]:
        """Returns the form in which `segment.json` holds the format."""
        return [list(self.shape), self.dtype]


class StoredArray:
    """The rows of one file, read on demand.

    The file stays open, so rows can be read even after another process has
    removed the file.
    """

    def __init__(self, path: str, spec: RowSpec, count: int) -> None:
        """Opens the file.

        Args:
          path: the file.
          spec: the format of a row.
          count: number of rows in the file.

        Raises:
          OSError: the file cannot be opened.
          ValueError: it is not a regular file of the expected size.
        """
        self._path = path
        self._spec = spec
        self._count = count
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        self._fd = os.open(path, os.O_RDONLY | flags)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if found.st_size != count * spec.nbytes:
            raise ValueError(
                f"{os.path.basename(path)} has {found.st_size} bytes, not"
                f" {count * spec.nbytes}"
            )

    def __del__(self) -> None:
        # Python closes no plain file descriptor. `_fd` is missing if opening
        # has failed.
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._fd)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of the given numbers, (n, *shape).

        Raises:
          OSError: the file was truncated after it was opened.
        """
        out = np.empty((len(rows), *self._spec.shape), self._spec.dtype)
        if not len(rows):
            return out
        # Consecutive rows are read in one call.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        starts = [0, *breaks.tolist(), len(rows)]
        size = self._spec.nbytes
        flat = out.reshape(len(rows), -1).view(np.uint8)
        for begin, end in itertools.pairwise(starts):
            wanted = (end - begin) * size
            data = self._read(int(rows[begin]) * size, wanted)
            flat[begin:end] = np.frombuffer(data, np.uint8).reshape(
                end - begin, size
            )
        return out

    def _read(self, offset: int, size: int) -> bytes:
        parts = []
        while size:
            part = os.pread(self._fd, size, offset)
            if not part:
                raise OSError(
                    errno.EIO, "truncated while in use; start again", self._path
                )
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def load(self) -> np.ndarray:
        """Returns all rows as an array in memory."""
        return self[np.arange(self._count)]

    def checksum(self) -> int:
        """Returns the CRC-32 of the file."""
        found, offset = 0, 0
        left = self._count * self._spec.nbytes
        while left:
            part = self._read(offset, min(_BLOCK_BYTES, left))
            found = zlib.crc32(part, found)
            offset, left = offset + len(part), left - len(part)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Rows by digest, in memory or in files.

    Attributes:
      digests: the digest of each row, in the order of the rows.
      arrays: for each array of a row, (n, *shape) for all rows.
      folder: the entry on disk; None if the rows are in memory only.
      in_ram: size of the rows in memory, bytes; 0 if they are read from files.
    """

    digests: tuple[str, ...]
    arrays: tuple[np.ndarray | StoredArray, ...]
    folder: str | None
    in_ram: int

    def positions(self) -> dict[str, int]:
        """Returns the row number of each digest."""
        return {digest: row for row, digest in enumerate(self.digests)}


def open_segment(folder: str, specs: Sequence[RowSpec]) -> Segment:
    """Opens a segment on disk, and verifies its checksums.

    Raises:
      OSError, ValueError: the segment is damaged. An index of another
        structure may raise any other exception.
    """
    index = os.path.join(folder, SEGMENT)
    if os.path.getsize(index) > _MAX_INDEX_BYTES:
        raise ValueError(f"{SEGMENT} is too large")
    with open(index, encoding="utf-8") as stream:
        stored = json.load(stream)
    digests = tuple(str(digest) for digest in stored["digests"])
    if stored["arrays"] != [spec.to_json() for spec in specs]:
        raise ValueError("arrays of another shape or type")
    arrays = tuple(
        StoredArray(_array_path(folder, number), spec, len(digests))
        for number, spec in enumerate(specs)
    )
    if [a.checksum() for a in arrays] != stored["checksums"]:
        raise ValueError("its checksum does not match")
    return Segment(digests=digests, arrays=arrays, folder=folder, in_ram=0)


def is_shortage(error: Exception) -> bool:
    """Returns whether an error says nothing about the segment itself.

    The process lacks memory, or has too many files open.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _SHORTAGES
    )


def write_segment(
    folder: str,
    digests: Sequence[str],
    specs: Sequence[RowSpec],
    blocks: Iterable[Sequence[np.ndarray]],
) -> None:
    """Writes the files of a segment into a folder.

    Args:
      folder: the folder of a new entry of the cache.
      digests: the digest of each row.
      specs: the format of each array of a row.
      blocks: the rows in the order of their digests, in blocks of any size;
        surplus rows are ignored.

    Raises:
      SegmentWriteError: a file cannot be written.
      ValueError: the blocks hold fewer rows than there are digests.
    """
    checksums = [0] * len(specs)
    with contextlib.ExitStack() as stack:
        streams = []
        for number, spec in enumerate(specs):
            with _writing():
                path = _array_path(folder, number)
                stream = stack.enter_context(open(path, "xb", buffering=0))
                _reserve(stream.fileno(), len(digests) * spec.nbytes)
            streams.append(stream)
        done = 0
        for block in blocks:
            count = min(len(block[0]), len(digests) - done)
            for number, (spec, part) in enumerate(
                zip(specs, block, strict=True)
            ):
                rows = np.ascontiguousarray(part[:count], spec.dtype)
                data = rows.reshape(-1).view(np.uint8).data
                checksums[number] = zlib.crc32(data, checksums[number])
                with _writing():
                    _write_all(streams[number], data)
            done += count
    if done != len(digests):
        raise ValueError(f"{done} rows of {len(digests)} were computed")
    index = {
        "digests": list(digests),
        "arrays": [spec.to_json() for spec in specs],
        "checksums": checksums,
    }
    with (
        _writing(),
        open(os.path.join(folder, SEGMENT), "x", encoding="utf-8") as text,
    ):
        json.dump(index, text)


class SegmentWriteError(Exception):
    """A file of the cache cannot be written.

    Attributes:
      reason: the operating system's reason.
    """

    def __init__(self, reason: str) -> None:
        """Creates the error with its reason."""
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def _writing() -> Any:
    """Turns OSError into SegmentWriteError.

    So an error of a file of the cache differs from one of the images that the
    rows are computed from.
    """
    try:
        yield
    except OSError as error:
        raise SegmentWriteError(error.strerror or str(error)) from error


def _write_all(stream: Any, data: memoryview) -> None:
    while len(data):
        data = data[stream.write(data) :]


def _reserve(fd: int, size: int) -> None:
    """Reserves the space of a file, to detect a full disk before the work."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)


def _array_path(folder: str, number: int) -> str:
    return os.path.join(folder, f"{number}.rows")
