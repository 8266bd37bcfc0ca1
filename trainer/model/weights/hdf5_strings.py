"""Checks the strings of an HDF5 file before HDF5 reads them.

Strings of variable length are objects in heaps. A descriptor has the heap, the
object and the length. HDF5 1.14.6 loops forever over a heap with an object of
size 0. It allocates the length in the descriptor, up to 4 GiB, before it reads
the object. See "HDF5 File Format Specification",
sections III.E (heaps), IV.A.1 (headers) and IV.A.2.m (attributes).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

# The first bytes of a heap, version 1.
_HEAP = b"GCOL\x01"
# A message in an object's header: an attribute, and more messages elsewhere.
_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_MAX_PARTS = 10_000


class StringChecker:
    """Compares the descriptors of strings with the heaps of a file.

    Only headers of version 1 are checked, which h5py and Keras write. Headers
    of version 2 have a checksum, which HDF5 verifies.
    """

    def __init__(
        self, content: bytes | mmap.mmap, *, base: int, sizes: tuple[int, int]
    ) -> None:
        """Finds and checks all heaps.

        Args:
          content: the bytes of the whole file.
          base: the position that addresses are relative to.
          sizes: number of bytes of an address, and of a size.

        Raises:
          ValueError: a heap is damaged.
        """
        self._content = content
        self._base = base
        self._address_bytes, self._size_bytes = sizes
        self._heaps = dict(self._all_heaps())

    def check(self, address: int, name: bytes, count: int) -> None:
        """Checks the strings of an attribute.

        Args:
          address: address of the object that has the attribute.
          name: the attribute's name.
          count: number of its strings.

        Raises:
          ValueError: a length differs from that of the string in the heap.
        """
        size = 4 + self._address_bytes + 4
        for data in self._attributes(self._base + address, name):
            for start in range(0, min(count * size, len(data)), size):
                item = data[start : start + size]
                length, heap, index = (
                    int.from_bytes(part, "little")
                    for part in (item[:4], item[4:-4], item[-4:])
                )
                found = self._heaps.get(self._base + heap, {}).get(index)
                if length and found != length:
                    shown = name.decode("utf-8", "backslashreplace")
                    raise ValueError(f"attribute {shown} is damaged")

    def _number(self, position: int, size: int) -> int:
        data = self._content[position : position + size]
        return int.from_bytes(data, "little")

    def _all_heaps(self) -> Iterator[tuple[int, dict[int, int]]]:
        """Yields each heap's position, and the sizes of its objects by number.

        Raises:
          ValueError: a heap is damaged.
        """
        header = 8 + self._size_bytes
        start = self._content.find(_HEAP)
        while start >= 0:
            end = start + self._number(start + 8, self._size_bytes)
            position = start + header + -header % 8
            objects: dict[int, int] = {}
            while position + header <= min(end, len(self._content)):
                index = self._number(position, 2)
                size = self._number(position + 8, self._size_bytes)
                objects[index] = size
                # Number 0 is free space, and its size includes its header.
                step = header + size + -size % 8 if index else size
                if not 0 < step <= end - position:
                    raise ValueError("its strings are damaged")
                position += step
            yield start, objects
            start = self._content.find(_HEAP, start + len(_HEAP))

    def _attributes(self, header: int, name: bytes) -> Iterator[bytes]:
        """Yields the values of an object's attributes with a name."""
        if self._number(header, 1) != 1:
            return
        parts = [(header + 16, self._number(header + 8, 4))]
        for start, length in parts:
            position, end = start, min(start + length, len(self._content))
            while position + 8 <= end:
                what = self._number(position, 2)
                size = self._number(position + 2, 2)
                data = self._content[position + 8 : position + 8 + size]
                position += 8 + size
                if what == _ATTRIBUTE:
                    found, value = _parse_attribute(data)
                    if found == name:
                        yield value
                elif what == _CONTINUATION and len(parts) < _MAX_PARTS:
                    middle = self._address_bytes
                    parts.append(
                        (
                            self._base
                            + int.from_bytes(data[:middle], "little"),
                            int.from_bytes(data[middle:], "little"),
                        )
                    )


def _parse_attribute(data: bytes) -> tuple[bytes, bytes]:
    """Returns the name and the value in an attribute's message."""
    version = data[0]
    name, *others = (
        int.from_bytes(data[at : at + 2], "little") for at in (2, 4, 6)
    )
    # The third version has one byte more; the first pads its parts.
    start = 9 if version == 3 else 8
    pad = 8 if version == 1 else 1
    value = start + sum(size + -size % pad for size in (name, *others))
    return data[start : start + name].rstrip(b"\0"), data[value:]
