"""Reads untrusted HDF5 files.

A link may lead out of the file, to a pipe without a writer. A group may contain
millions of groups. A few bytes may unpack to gigabytes. So links are rejected
and never followed, objects and names are counted, and arrays are checked before
they are read.
"""

from __future__ import annotations

import functools
import math
import mmap
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from trainer.errors import TrainerError
from trainer.model.weights.hdf5_strings import StringChecker
from trainer.model.weights.saved_weights import SavedWeight, not_numbers

# EfficientNetB7 with its optimizer takes 25,000 lookups, 7 levels deep. The
# limit takes 3 s.
_MAX_LOOKUPS = 100_000
_MAX_DEPTH = 50
_MAX_ATTRIBUTE_BYTES = 64 << 20
# Many strings of variable length may refer to one long string.
_MAX_STRING_BYTES = 4 << 30
# HDF5 reads whole chunks; h5py's automatic chunks have at most 1 MiB.
_SPARE_CHUNK_BYTES = 1 << 20
_MAX_CHUNKS = 100_000
_CHECKABLE_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}


class Hdf5Reader:
    """An open HDF5 file; checks everything before it is read.

    Attributes:
      label: the flag and the file, for messages.
      root: the file's root group.
    """

    def __init__(
        self, label: str, file: h5py.File, content: bytes | mmap.mmap
    ) -> None:
        """Creates a reader of an open file.

        Args:
          label: the flag and the file, for messages.
          file: open for reading.
          content: the same file's bytes.
        """
        self.label, self.root = label, file
        self._content = content
        self._strings: StringChecker | None = None
        self._lookups = 0

    def find(self, group: h5py.Group, path: str) -> Any:
        """Returns the object at a path below a group, or None.

        Raises:
          TrainerError: there is a link on the way.
        """
        item: Any = group
        for part in path.split("/"):
            if not isinstance(item, h5py.Group):
                return None
            hard = self._is_hard(item, part)
            if hard is None:
                return None
            if not hard:
                raise self._refused(path)
            item = item[part]
        return item

    def child(self, group: h5py.Group, path: str) -> Any:
        """Returns the object at a path below a group.

        Raises:
          KeyError: there is none.
          TrainerError: there is a link on the way.
        """
        item = self.find(group, path)
        if item is None:
            raise KeyError(f"no {path}")
        return item

    def names(self, group: h5py.Group) -> list[str]:
        """Returns the names in a group, sorted."""
        found: list[bytes] = []
        room = _MAX_LOOKUPS - self._lookups

        def add(name: bytes) -> bool | None:
            # h5py stops at any value that is not None, but ignores exceptions.
            found.append(name)
            return True if len(found) > room else None

        group.id.links.iterate(add)
        self._count(len(found))
        return sorted(_text(name) for name in found)

    def groups(self) -> Iterator[tuple[str, ...]]:
        """Yields the path of each group below the root, outermost first."""
        seen = {h5py.h5o.get_info(self.root.id).addr}
        level: list[tuple[tuple[str, ...], h5py.Group]] = [((), self.root)]
        for _ in range(_MAX_DEPTH):
            below = []
            for path, group in level:
                for name in self.names(group):
                    if not self._is_hard(group, name):
                        continue
                    info = h5py.h5o.get_info(group.id, _bytes(name))
                    if info.type == h5py.h5o.TYPE_GROUP and (
                        info.addr not in seen
                    ):
                        seen.add(info.addr)
                        below.append(((*path, name), group[name]))
                        yield below[-1][0]
            level = below
            if not level:
                return
        raise ValueError(f"groups more than {_MAX_DEPTH} levels deep")

    def attribute(self, item: h5py.Group, name: str) -> Any:
        """Returns an attribute of strings, or None if it is missing."""
        self._count()
        key = _bytes(name)
        if not h5py.h5a.exists(item.id, key):
            return None
        attribute = h5py.h5a.open(item.id, key)
        kind, count = attribute.get_type(), math.prod(attribute.shape)
        # An empty list of names is stored as an empty list of numbers.
        if count and not isinstance(kind, h5py.h5t.TypeStringID):
            raise ValueError(f"attribute {name} is not text")
        variable = count > 0 and kind.is_variable_str()
        if variable:
            self._check_strings(item, key, count)
        if variable and count > 1:
            size = count * item.file.id.get_filesize()
            limit = _MAX_STRING_BYTES
        else:
            size, limit = count * kind.get_size(), _MAX_ATTRIBUTE_BYTES
        if size > limit or count > _MAX_LOOKUPS:
            raise ValueError(f"attribute {name} is too large")
        return item.attrs[name]

    def texts(self, group: h5py.Group, name: str) -> list[str]:
        """Returns a list of names in attributes.

        Keras stores a long list as several numbered attributes.
        """
        value = self.attribute(group, name)
        values = [] if value is None else list(value)
        chunk = 0
        while (value := self.attribute(group, f"{name}{chunk}")) is not None:
            values += list(value)
            chunk += 1
        return [v.decode() if isinstance(v, bytes) else str(v) for v in values]

    def weight(self, group: h5py.Group, path: str, *, name: str) -> SavedWeight:
        """Returns the array at a path below a group, without reading it.

        Raises:
          TrainerError: there is a link on the way, or the data is outside the
            file.
        """
        data = self.child(group, path)
        # HDF5 would read such data from other files of this machine. It also
        # looks up the shape of virtual data there, so check this before the
        # shape.
        if (
            not isinstance(data, h5py.Dataset)
            or data.external
            or data.is_virtual
        ):
            raise self._refused(path)
        return SavedWeight(
            name=name,
            shape=tuple(data.shape),
            read=functools.partial(self._read, data, name),
        )

    def _read(self, data: h5py.Dataset, name: str) -> np.ndarray:
        """Reads an array whose shape the caller has checked."""
        if data.dtype.kind not in "fiu":
            raise not_numbers(self.label, name, data.dtype)
        if data.chunks:
            _check_chunks(data)
        return np.asarray(data)

    def _check_strings(self, item: h5py.Group, key: bytes, count: int) -> None:
        if self._strings is None:
            file = self.root.id
            self._strings = StringChecker(
                self._content,
                base=file.get_create_plist().get_userblock(),
                sizes=file.get_create_plist().get_sizes(),
            )
        address = h5py.h5o.get_info(item.id).addr
        self._strings.check(address, key, count)

    def _is_hard(self, group: h5py.Group, name: str) -> bool | None:
        """Returns whether a name is a hard link; None if it is missing.

        `name in group` of h5py would follow links.
        """
        self._count()
        key, links = _bytes(name), group.id.links
        if not key or not links.exists(key):
            return None
        return links.get_info(key).type == h5py.h5l.TYPE_HARD

    def _count(self, number: int = 1) -> None:
        self._lookups += number
        if self._lookups > _MAX_LOOKUPS:
            raise ValueError(f"more than {_MAX_LOOKUPS:,} objects and names")

    def _refused(self, path: str) -> TrainerError:
        return TrainerError(
            f"{self.label}: {path} is a link or stored outside the file; such"
            " files are refused: give a file that model.save_weights wrote"
        )


def _check_chunks(data: h5py.Dataset) -> None:
    """Checks that a compressed array does not unpack to more than its size."""
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    deflated = filters.count(h5py.h5z.FILTER_DEFLATE)
    deflate_bit = 1 << filters.index(h5py.h5z.FILTER_DEFLATE) if deflated else 0
    if deflated > 1 or not set(filters) <= _CHECKABLE_FILTERS:
        raise ValueError(f"{data.name} is compressed in an unsupported way")
    size = math.prod(data.chunks) * data.dtype.itemsize
    sides = zip(data.shape, data.chunks, strict=True)
    count = math.prod(-(-whole // chunk) for whole, chunk in sides)
    if size > data.nbytes + _SPARE_CHUNK_BYTES or count > _MAX_CHUNKS:
        raise ValueError(f"{data.name} is stored in chunks of a wrong size")
    stored: list[Any] = []
    data.id.chunk_iter(stored.append)
    for chunk in stored:
        # Deflate adds at most 0.1 % to data, and checksums add some bytes.
        if chunk.size > size + size // 100 + 1024:
            raise ValueError(f"{data.name} has a chunk that is too large")
        # The mask marks a chunk that is stored uncompressed.
        if deflated and not chunk.filter_mask & deflate_bit:
            _, packed = data.id.read_direct_chunk(chunk.chunk_offset)
            room = size + 64
            if len(zlib.decompressobj().decompress(packed, room)) == room:
                raise ValueError(f"{data.name} unpacks to more than its size")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
