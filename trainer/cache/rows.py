"""Cache of rows, which are computed once: features, or decoded images.

A row belongs to one encoded image, identified by a digest of its bytes. So
subsets, splits, epochs, stages and runs share rows. Several processes may
share a cache; rows that two of them compute at the same time are stored twice.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.cache.cached_rows import CachedRows
from trainer.cache.disk import CacheFolder, CacheRefusedError, key_of
from trainer.cache.entries import ROWS, remove_entry, touch
from trainer.cache.segments import (
    RowSpec,
    Segment,
    SegmentWriteError,
    StoredArray,
    is_shortage,
    open_segment,
    write_segment,
)
from trainer.errors import reason_of

AUTO = "auto"
OFF = "off"
RAM = "ram"
DISK = "disk"
_KeyAndSpecs = tuple[str, tuple[RowSpec, ...]]


class RowCache:
    """All cached rows: in memory, and in a folder that other runs share."""

    def __init__(
        self, *, mode: str, disk: CacheFolder | None, ram_bytes: int
    ) -> None:
        """Creates the cache; the file system is not touched.

        Args:
          mode: auto (files if possible, otherwise memory), ram, disk, or off.
          disk: the folder for files; None writes none.
          ram_bytes: the limit for all rows in memory.
        """
        self._mode = mode
        self._disk = None if mode == RAM else disk
        self._ram_bytes = self._ram_left = ram_bytes
        self._warn: Callable[[str], None] = print
        # Ordered by last use, the most recent last. By format too, so that
        # rows of one shape are never returned for another.
        self._known: dict[_KeyAndSpecs, list[Segment]] = {}

    @property
    def is_off(self) -> bool:
        """Whether nothing is cached."""
        return self._mode == OFF

    def rows(
        self,
        digests: Sequence[str],
        *,
        key_fields: Mapping[str, Any],
        specs: Sequence[RowSpec],
        compute: Callable[[np.ndarray], Iterator[list[np.ndarray]]],
        warn: Callable[[str], None],
    ) -> CachedRows | None:
        """Returns the rows of some samples, and computes the missing ones.

        Args:
          digests: for each sample, the digest of its encoded image.
          key_fields: everything else that determines a row, as values that
            JSON can represent.
          specs: the format of each array of a row.
          compute: maps sample numbers, int64 (n,), to their rows in the same
            order, in blocks of any size.
          warn: called with a message if a file is damaged or cannot be
            written.

        Returns:
          None if the rows are not cached, because the cache is off or they
          fit neither in memory nor on disk. Nothing is computed then.
        """
        if self.is_off:
            return None
        self._warn = warn
        key = key_of(key_fields)
        segments, found, missing = self._look_up(key, digests, specs)
        if missing:
            numbers = np.array(list(missing.values()), np.int64)
            made = self._make(
                key, tuple(missing), specs, lambda: compute(numbers)
            )
            if made is None:
                return None
            segments.append(made)
            for digest, row in made.positions().items():
                found[digest] = (made, row)
        for segment in segments:
            if segment.folder is not None:
                touch(segment.folder)
        return CachedRows(specs, [found[digest] for digest in digests])

    def missing(
        self,
        digests: Sequence[str],
        *,
        key_fields: Mapping[str, Any],
        specs: Sequence[RowSpec],
        warn: Callable[[str], None],
    ) -> np.ndarray:
        """Returns which samples `rows` would compute.

        Args:
          digests: see `rows`.
          key_fields: see `rows`.
          specs: see `rows`.
          warn: see `rows`.

        Returns:
          int64 (n,), sample numbers in ascending order; of samples with the
          same digest, the first. Empty if the cache is off.
        """
        if self.is_off:
            return np.zeros(0, np.int64)
        self._warn = warn
        *_, missing = self._look_up(key_of(key_fields), digests, specs)
        return np.array(list(missing.values()), np.int64)

    def shortage(self, size: int, missing: int) -> str:
        """Returns why rows cannot be cached; "" if they can.

        Args:
          size: size of all rows, bytes.
          missing: size of those that are not on disk yet, bytes.
        """
        if self.is_off:
            return "the cache is off (--cache)"
        allowed = []
        if self._disk is not None:
            try:
                free = self._disk.free_bytes()
            except (CacheRefusedError, OSError) as error:
                allowed.append(f"no files, as {reason_of(error)}")
            else:
                limit = self._disk.disk_bytes
                if size <= limit and missing < free:
                    return ""
                flag = "--cache_disk_mib" if size > limit else "free space"
                least = min(limit, free + size - missing)
                allowed.append(f"{least // 2**20:,} on disk ({flag})")
        if self._mode != DISK:
            if size <= self._ram_bytes:
                return ""
            allowed.append(
                f"{self._ram_bytes // 2**20:,} in memory (--cache_ram_mib)"
            )
        return f"the cache may take {' or '.join(allowed) or 'nothing'}"

    def _look_up(
        self, key: str, digests: Sequence[str], specs: Sequence[RowSpec]
    ) -> tuple[list[Segment], dict[str, tuple[Segment, int]], dict[str, int]]:
        """Returns the segments of a key, their rows, and what they lack.

        Returns:
          The segments; segment and row of each digest in them; the number of
          the first sample of each other digest.
        """
        used = key, tuple(specs)
        self._known[used] = self._known.pop(used, [])
        segments = self._segments(key, specs)
        found: dict[str, tuple[Segment, int]] = {}
        for segment in segments:
            for digest, row in segment.positions().items():
                found.setdefault(digest, (segment, row))
        missing: dict[str, int] = {}
        for number, digest in enumerate(digests):
            if digest not in found:
                missing.setdefault(digest, number)
        return segments, found, missing

    def _segments(self, key: str, specs: Sequence[RowSpec]) -> list[Segment]:
        """Returns the segments of a key, in memory and complete on disk."""
        known = self._known[key, tuple(specs)]
        if self._disk is None:
            return known
        held = {segment.folder for segment in known}
        for path in self._disk.entries(key):
            if path not in held:
                segment = self._open(path, specs)
                if segment is not None:
                    known.append(segment)
        return known

    def _open(self, path: str, specs: Sequence[RowSpec]) -> Segment | None:
        """Opens a segment on disk; warns about a damaged one and removes it."""
        try:
            return self._into_ram(open_segment(path, specs), specs)
        except Exception as error:
            # If the path is missing, another process has removed it.
            if not os.path.isdir(path):
                return None
            reason = reason_of(error)
            if is_shortage(error):
                self._warn(
                    f"{path}: cached rows cannot be read now ({reason}); they"
                    " stay, and are computed again for this run"
                )
            else:
                self._warn(
                    f"{path}: cached rows are damaged ({reason}); they are"
                    " removed and computed again"
                )
                remove_entry(path)
            return None

    def _into_ram(self, segment: Segment, specs: Sequence[RowSpec]) -> Segment:
        """Loads a segment into memory, if it fits and there is memory."""
        size = len(segment.digests) * sum(spec.nbytes for spec in specs)
        if not self._ram_takes(size):
            return segment
        try:
            arrays = tuple(
                array.load() if isinstance(array, StoredArray) else array
                for array in segment.arrays
            )
        except MemoryError:
            return segment
        self._ram_left -= size
        return dataclasses.replace(segment, arrays=arrays, in_ram=size)

    def _ram_takes(self, size: int) -> bool:
        """Returns whether rows fit in memory; may drop rows of other keys."""
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
    ) -> Segment | None:
        """Computes rows, and stores them in files or in memory.

        Returns:
          None if they fit in neither.
        """
        size = len(digests) * sum(spec.nbytes for spec in specs)
        if self._files_take(size):
            try:
                return self._write(key, digests, specs, compute())
            except SegmentWriteError as error:
                self._go_without_files(error.reason)
        if self._mode == DISK or not self._ram_takes(size):
            return None
        arrays = [np.empty((len(digests), *s.shape), s.dtype) for s in specs]
        _fill(arrays, compute())
        self._ram_left -= size
        return Segment(
            digests=digests, arrays=tuple(arrays), folder=None, in_ram=size
        )

    def _files_take(self, size: int) -> bool:
        """Returns whether a segment fits on disk, and removes old ones."""
        if self._disk is None:
            return False
        held = {s.folder for known in self._known.values() for s in known}
        try:
            return self._disk.has_room(size, held)
        except (CacheRefusedError, OSError) as error:
            self._go_without_files(reason_of(error))
            return False

    def _go_without_files(self, reason: str) -> None:
        assert self._disk is not None
        self._warn(
            f"--cache_dir={self._disk.base!r}: cannot be written to"
            f" ({reason}); nothing is cached on disk"
        )
        self._disk = None

    def _write(
        self,
        key: str,
        digests: tuple[str, ...],
        specs: Sequence[RowSpec],
        blocks: Iterator[list[np.ndarray]],
    ) -> Segment:
        """Computes rows, and writes them to a new segment.

        Raises:
          SegmentWriteError: the segment cannot be written.
        """
        assert self._disk is not None
        entry = ""
        try:
            try:
                entry = self._disk.new_entry(key)
            except (CacheRefusedError, OSError) as error:
                raise SegmentWriteError(reason_of(error)) from error
            write_segment(entry, digests, specs, blocks)
            try:
                entry = self._disk.publish(entry, ROWS)
                arrays = tuple(
                    StoredArray(f"{entry}/{n}.rows", spec, len(digests))
                    for n, spec in enumerate(specs)
                )
            except (OSError, ValueError) as error:
                raise SegmentWriteError(reason_of(error)) from error
        except BaseException:
            remove_entry(entry)
            raise
        segment = Segment(
            digests=digests, arrays=arrays, folder=entry, in_ram=0
        )
        return self._into_ram(segment, specs)


def _fill(
    arrays: Sequence[np.ndarray], blocks: Iterator[list[np.ndarray]]
) -> None:
    """Copies blocks of rows into arrays, one after the other.

    Raises:
      ValueError: the blocks hold fewer rows than the arrays.
    """
    done = 0
    for block in blocks:
        count = min(len(block[0]), len(arrays[0]) - done)
        for array, part in zip(arrays, block, strict=True):
            array[done : done + count] = part[:count]
        done += count
    if done != len(arrays[0]):
        raise ValueError(f"{done} rows of {len(arrays[0])} were computed")
