"""A segment of cached rows: a folder with one file an array, and a note.

`N.rows` holds the rows of array N one after the other, `segment.json` their
digests, the format of the arrays and a checksum of each file. A segment is
written aside, renamed into place whole and never changed.

Files are read, never mapped: reading a mapped page that another process has
cut off ends the process by SIGBUS, and so does writing one on a full disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer.cache.disk import SEGMENT

_BLOCK_BYTES = 1 << 22
_MAX_NOTE_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSpec:
    """One array of a row."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return (
            int(np.prod(self.shape, dtype=np.int64))
            * np.dtype(self.dtype).itemsize
        )

    def to_json(self) -> list[Any]:
        """What `segment.json` holds of it."""
        return [list(self.shape), self.dtype]


class StoredArray:
    """The rows of one file, read when they are asked for.

    The file stays open, so that rows can still be read after another process
    has removed it.
    """

    def __init__(self, path: str, spec: RowSpec, count: int) -> None:
        """Args:
        path: of the file.
        spec: of a row.
        count: rows in the file.

        Raises:
          OSError: it cannot be opened.
          ValueError: it is not a regular file of that size.
        """
        self._path, self._spec, self._count = path, spec, count
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
        # Python closes no descriptors of its own accord.
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._fd)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of the given numbers, (n, *shape).

        Raises:
          OSError: the file has become shorter.
        """
        out = np.empty((len(rows), *self._spec.shape), self._spec.dtype)
        if not len(rows):
            return out
        # Neighbours in the file are read at once.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        starts = [0, *breaks.tolist(), len(rows)]
        size = self._spec.nbytes
        flat = out.reshape(len(rows), -1).view(np.uint8)
        for begin, end in zip(starts[:-1], starts[1:], strict=True):
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
        """Returns all rows, in memory."""
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
      digests: of the rows, in their order.
      arrays: for each array of a row, all of them.
      folder: where they are on disk; None if they are in memory alone.
      in_ram: bytes that they take of memory.
    """

    digests: tuple[str, ...]
    arrays: tuple[np.ndarray | StoredArray, ...]
    folder: str | None
    in_ram: int

    def positions(self) -> dict[str, int]:
        """Returns the row number of each digest."""
        return {digest: row for row, digest in enumerate(self.digests)}


def open_segment(folder: str, specs: Sequence[RowSpec]) -> Segment:
    """Opens a segment on disk and checks all of it.

    Raises:
      OSError, ValueError: it is broken. Others may be raised too, of which a
        parser can raise many.
    """
    note = os.path.join(folder, SEGMENT)
    if os.path.getsize(note) > _MAX_NOTE_BYTES:
        raise ValueError(f"{SEGMENT} is too large")
    with open(note, encoding="utf-8") as stream:
        stored = json.load(stream)
    digests = tuple(str(digest) for digest in stored["digests"])
    if stored["arrays"] != [spec.to_json() for spec in specs]:
        raise ValueError("arrays of another shape or type")
    arrays = tuple(
        StoredArray(_array(folder, number), spec, len(digests))
        for number, spec in enumerate(specs)
    )
    if [a.checksum() for a in arrays] != stored["checksums"]:
        raise ValueError("its checksum does not match")
    return Segment(digests=digests, arrays=arrays, folder=folder, in_ram=0)


def write_segment(
    folder: str,
    digests: Sequence[str],
    specs: Sequence[RowSpec],
    blocks: Iterable[Sequence[np.ndarray]],
) -> None:
    """Writes the files of a segment into a folder.

    Args:
      folder: of a new entry of the cache.
      digests: of the rows.
      specs: of the arrays of a row.
      blocks: the rows in that order, in blocks of any size; more rows than
        digests are left out.

    Raises:
      SegmentWriteError: a file cannot be written.
      ValueError: there are fewer rows than digests.
    """
    checksums = [0] * len(specs)
    with contextlib.ExitStack() as stack:
        streams = []
        for number, spec in enumerate(specs):
            with _writing():
                path = _array(folder, number)
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
    note = {
        "digests": list(digests),
        "arrays": [spec.to_json() for spec in specs],
        "checksums": checksums,
    }
    with (
        _writing(),
        open(os.path.join(folder, SEGMENT), "x", encoding="utf-8") as text,
    ):
        json.dump(note, text)


class SegmentWriteError(Exception):
    """A file of the cache cannot be written; `reason` is the system's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def _writing() -> Any:
    """Tells errors of the cache's own files from those of the rows' source."""
    try:
        yield
    except OSError as error:
        raise SegmentWriteError(error.strerror or str(error)) from error


def _write_all(stream: Any, data: memoryview) -> None:
    while len(data):
        data = data[stream.write(data) :]


def _reserve(fd: int, size: int) -> None:
    """Takes the space of a file, so that a full disk shows before the work."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)


def _array(folder: str, number: int) -> str:
    return os.path.join(folder, f"{number}.rows")
