"""Rows that are computed once and kept: features, or decoded pictures.

A row belongs to one encoded image, which its digest names, so that subsets,
splits, epochs, stages and runs share rows. Rows come in segments: a folder
with one .npy file an array and `segment.json`, which holds the digests and a
checksum of each file. A segment is written aside, renamed into place whole and
never changed, so that several processes may share a cache; what is computed
twice is only kept twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from typing import Any, NamedTuple

import numpy as np

AUTO, OFF, RAM, DISK = "auto", "off", "ram", "disk"
_SEGMENT = "segment.json"
# A new number makes what older versions wrote unread.
_FORMAT = 1
# No process takes so long between two writes to a segment.
_STALE_SECONDS = 24 * 3600


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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Segment:
    """Rows by digest, in memory or in a mapped file."""

    digests: tuple[str, ...]
    arrays: list[np.ndarray]
    folder: str | None
    in_ram: int

    def positions(self) -> dict[str, int]:
        return {digest: row for row, digest in enumerate(self.digests)}


class KeptRows:
    """The rows of one list of samples, at hand."""

    def __init__(
        self,
        specs: Sequence[RowSpec],
        found: Sequence[tuple[list[np.ndarray], int]],
    ) -> None:
        """Args:
        specs: of the arrays of a row.
        found: for each sample the arrays of its segment, and its row there.
        """
        self.specs = tuple(specs)
        segments: dict[int, int] = {}
        self._segments: list[list[np.ndarray]] = []
        for arrays, _ in found:
            if id(arrays) not in segments:
                segments[id(arrays)] = len(self._segments)
                self._segments.append(arrays)
        self._segment = np.array([segments[id(a)] for a, _ in found], np.int64)
        self._row = np.array([row for _, row in found], np.int64)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """The arrays of some samples.

        Args:
          rows: int64 (n,), sample numbers; negative ones are padding.

        Returns:
          For each spec (n, *shape), zeros where padded.
        """
        out = [np.zeros((len(rows), *s.shape), s.dtype) for s in self.specs]
        real = np.flatnonzero(rows >= 0)
        for number, arrays in enumerate(self._segments):
            at = real[self._segment[rows[real]] == number]
            source = self._row[rows[at]]
            for target, array in zip(out, arrays, strict=True):
                target[at] = array[source]
        return out


class RowCache:
    """All that is kept: in this process, and in a folder that others share.

    Args of `rows` say what a row is; a cache may hold rows of many kinds.
    """

    def __init__(
        self,
        *,
        mode: str,
        folder: str,
        ram_bytes: int,
        disk_bytes: int,
    ) -> None:
        """Args:
        mode: auto (files where that works, else memory), ram, disk, or off.
        folder: where files go.
        ram_bytes: what all rows in memory may take.
        disk_bytes: what all files may take; the least recently used go.
        """
        self._mode, self._folder = mode, folder
        self._ram_left, self._disk_bytes = ram_bytes, disk_bytes
        self._warn: Callable[[str], None] = print
        # The most recently used kind last.
        self._known: dict[str, list[_Segment]] = {}
        self._no_files = False

    def rows(
        self,
        digests: Sequence[str],
        *,
        kind: Mapping[str, Any],
        specs: Sequence[RowSpec],
        compute: Callable[[np.ndarray], Iterator[list[np.ndarray]]],
        warn: Callable[[str], None],
    ) -> KeptRows | None:
        """The rows of some samples; those that are missing are computed.

        Args:
          digests: of the samples' encoded images.
          kind: everything else that determines a row, as JSON holds it.
          specs: of the arrays of a row.
          compute: int64 (n,), sample numbers -> their rows in that order, in
            blocks of any size.
          warn: told of files that are broken or cannot be written.

        Returns:
          None where they are not to be kept: the cache is off, or they fit
          neither in memory nor on disk. Nothing is computed then.
        """
        if self._mode == OFF:
            return None
        self._warn = warn
        key = key_of(kind)
        self._known[key] = self._known.pop(key, [])
        segments = self._segments(key, specs)
        have: dict[str, tuple[list[np.ndarray], int]] = {}
        for segment in segments:
            for digest, row in segment.positions().items():
                have.setdefault(digest, (segment.arrays, row))
        missing: dict[str, int] = {}
        for number, digest in enumerate(digests):
            if digest not in have:
                missing.setdefault(digest, number)
        if missing:
            numbers = np.array(list(missing.values()), np.int64)
            made = self._make(
                key, tuple(missing), specs, lambda: compute(numbers)
            )
            if made is None:
                return None
            segments.append(made)
            for digest, row in made.positions().items():
                have[digest] = (made.arrays, row)
        for segment in segments:
            _touch(segment)
        return KeptRows(specs, [have[digest] for digest in digests])

    def _segments(self, key: str, specs: Sequence[RowSpec]) -> list[_Segment]:
        """Those in memory, and the whole ones on disk."""
        known = self._known[key]
        folder = os.path.join(self._folder, key)
        if self._mode == RAM or not os.path.isdir(folder):
            return known
        held = {segment.folder for segment in known}
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if path not in held and not name.startswith("."):
                segment = self._open(path, specs)
                if segment is not None:
                    known.append(segment)
        return known

    def _open(self, path: str, specs: Sequence[RowSpec]) -> _Segment | None:
        """A segment on disk; a broken one is named and removed."""
        try:
            with open(os.path.join(path, _SEGMENT), encoding="utf-8") as stream:
                stored = json.load(stream)
            digests = tuple(stored["digests"])
            arrays = []
            for number, spec in enumerate(specs):
                array = np.load(_array(path, number), mmap_mode="r")
                if array.shape != (len(digests), *spec.shape):
                    raise ValueError("another shape")
                if array.dtype != np.dtype(spec.dtype):
                    raise ValueError("another type")
                if _checksum(array) != stored["checksums"][number]:
                    raise ValueError("its checksum does not match")
                arrays.append(array)
        except Exception as error:
            # NumPy's parser of headers raises many kinds, tokenize's among
            # them.
            if os.path.isdir(path):
                reason = str(error).strip() or type(error).__name__
                self._warn(
                    f"{path}: kept rows are broken ({reason.splitlines()[0]});"
                    " they are removed and computed again"
                )
                _remove(path)
            return None
        return self._into_ram(digests, arrays, path)

    def _into_ram(
        self, digests: tuple[str, ...], arrays: list[np.ndarray], path: str
    ) -> _Segment:
        """The segment in memory if the budget has room, else mapped."""
        size = sum(array.nbytes for array in arrays)
        fits = self._ram_takes(size)
        if fits:
            self._ram_left -= size
            arrays = [np.array(array) for array in arrays]
        return _Segment(
            digests=digests,
            arrays=arrays,
            folder=path,
            in_ram=size if fits else 0,
        )

    def _ram_takes(self, size: int) -> bool:
        """Whether memory has room, if need be without rows of other kinds."""
        others = list(self._known)[:-1]
        held = sum(s.in_ram for key in others for s in self._known[key])
        if size > self._ram_left + held:
            return False
        for key in others:
            if size <= self._ram_left:
                break
            self._ram_left += sum(s.in_ram for s in self._known.pop(key))
        return True

    def _make(
        self,
        key: str,
        digests: tuple[str, ...],
        specs: Sequence[RowSpec],
        compute: Callable[[], Iterator[list[np.ndarray]]],
    ) -> _Segment | None:
        """Computes rows, into a file or into memory.

        Returns:
          None where there is room in neither.
        """
        size = len(digests) * sum(spec.nbytes for spec in specs)
        if self._files_take(size):
            try:
                return self._write(key, digests, specs, compute())
            except OSError as error:
                self._no_files = True
                self._warn(
                    f"--cache_dir={self._folder!r}: cannot be written to"
                    f" ({error.strerror or error}); going on without files"
                )
        if self._mode == DISK or not self._ram_takes(size):
            return None
        arrays = [np.empty((len(digests), *s.shape), s.dtype) for s in specs]
        _fill(arrays, compute())
        self._ram_left -= size
        return _Segment(
            digests=digests, arrays=arrays, folder=None, in_ram=size
        )

    def _files_take(self, size: int) -> bool:
        """Whether there is room for a segment, if need be by removing some."""
        if self._mode == RAM or self._no_files or size > self._disk_bytes:
            return False
        try:
            os.makedirs(self._folder, exist_ok=True)
            held = {s.folder for known in self._known.values() for s in known}
            return has_room(self._folder, size, self._disk_bytes, held)
        except OSError as error:
            self._no_files = True
            self._warn(
                f"--cache_dir={self._folder!r}: cannot be used"
                f" ({error.strerror}); going on without files"
            )
            return False

    def _write(
        self,
        key: str,
        digests: tuple[str, ...],
        specs: Sequence[RowSpec],
        blocks: Iterator[list[np.ndarray]],
    ) -> _Segment:
        parent = os.path.join(self._folder, key)
        os.makedirs(parent, exist_ok=True)
        aside = tempfile.mkdtemp(prefix=".", dir=parent)
        try:
            arrays = [
                np.lib.format.open_memmap(
                    _array(aside, number),
                    mode="w+",
                    dtype=np.dtype(spec.dtype),
                    shape=(len(digests), *spec.shape),
                )
                for number, spec in enumerate(specs)
            ]
            _reserve(aside, len(specs))
            _fill(arrays, blocks)
            for array in arrays:
                array.flush()
            stored = {
                "digests": list(digests),
                "checksums": [_checksum(array) for array in arrays],
            }
            with open(
                os.path.join(aside, _SEGMENT), "w", encoding="utf-8"
            ) as stream:
                json.dump(stored, stream)
            path = os.path.join(parent, f"rows-{os.path.basename(aside)[1:]}")
            os.rename(aside, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        mapped = [
            np.load(_array(path, n), mmap_mode="r") for n in range(len(specs))
        ]
        return self._into_ram(digests, mapped, path)


def _reserve(folder: str, count: int) -> None:
    """Takes the space of mapped files, so that a full disk is an error here.

    Writing to a mapped page that finds no space ends the process.
    """
    for number in range(count):
        path = _array(folder, number)
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, os.path.getsize(path))


def _fill(
    arrays: Sequence[np.ndarray], blocks: Iterable[list[np.ndarray]]
) -> None:
    """Copies blocks of rows one behind the other.

    Raises:
      ValueError: there are fewer rows than the arrays have.
    """
    done = 0
    for block in blocks:
        count = min(len(block[0]), len(arrays[0]) - done)
        for array, part in zip(arrays, block, strict=True):
            array[done : done + count] = part[:count]
        done += count
    if done != len(arrays[0]):
        raise ValueError(f"{done} rows of {len(arrays[0])} were computed")


def key_of(kind: Mapping[str, Any]) -> str:
    """The name of what is kept, by everything that determines it."""
    text = json.dumps({"format": _FORMAT, **kind}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _array(folder: str, number: int) -> str:
    return os.path.join(folder, f"{number}.npy")


def _checksum(array: np.ndarray) -> int:
    # CRC-32, piece by piece: a mapped file may be larger than memory.
    found = 0
    for start in range(0, len(array), 256):
        piece = np.ascontiguousarray(array[start : start + 256])
        found = zlib.crc32(piece.reshape(-1).view(np.uint8).data, found)
    return found


def _touch(segment: _Segment) -> None:
    """Notes that the segment was used."""
    if segment.folder is not None:
        try:
            os.utime(segment.folder)
        except OSError:
            # Another process has removed it; the mapping stays valid.
            return


def has_room(
    folder: str,
    size: int,
    bound: int,
    held: Set[str | None] = frozenset(),
) -> bool:
    """Whether something may be added, others removed for it if need be.

    Args:
      folder: of the cache; it is there.
      size: of what is to be added, bytes.
      bound: what all may take.
      held: segments that stay.

    Raises:
      OSError: the folder cannot be looked at.
    """
    if size > bound:
        return False
    _make_room(folder, bound - size, held)
    # A cache must not fill the disk that checkpoints go to.
    return size < shutil.disk_usage(folder).free // 2


def _make_room(folder: str, bound: int, held: Set[str | None]) -> None:
    """Removes the least recently used segments until `bound` bytes are left.

    Those that this process holds stay. What killed processes left half
    written goes first.
    """
    found = []
    for key in os.listdir(folder):
        for path, used, _ in _scan(os.path.join(folder, key)):
            files = _scan(path)
            if os.path.basename(path).startswith("."):
                written = max([used, *(file.mtime for file in files)])
                if written < time.time() - _STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
                    continue
            found.append((used, sum(file.size for file in files), path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= bound:
            return
        if path not in held and not os.path.basename(path).startswith("."):
            _remove(path)
            total -= size


def _remove(path: str) -> None:
    """Removes a segment; nobody reads it while it is in pieces."""
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f".gone-{os.getpid()}-{name}")
    try:
        os.rename(path, aside)
    except OSError:
        # Another process was faster, or the folder is not to be written to.
        return
    shutil.rmtree(aside, ignore_errors=True)


class _Entry(NamedTuple):
    path: str
    mtime: float
    size: int


def _scan(path: str) -> list[_Entry]:
    """What is in a folder; other processes may remove it meanwhile."""
    found = []
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat()
                found.append(
                    _Entry(entry.path, status.st_mtime, status.st_size)
                )
    return found
