"""Checks a TensorFlow checkpoint's index before TensorFlow reads it.

TensorFlow allocates whatever the index declares, and aborts the process on an
impossible shape. So the index is checked before TensorFlow reads it. The index
is a table: sorted blocks of (key, protobuf) records, and a footer with their
positions. See `tensorflow/core/util/tensor_bundle` and
`tensorflow/core/lib/io/format.cc`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from trainer.storage import files

# The last bytes of an index: the magic number of TensorFlow's tables.
INDEX_END = bytes.fromhex("57fb808b247547db")
_FOOTER_BYTES = 48
# After each block: the compression type, which TensorFlow leaves at "none", and
# a checksum, which TensorFlow verifies.
_TRAILER_BYTES = 5
# A record takes about 100 bytes; the largest backbone has 6,000 records.
_MAX_INDEX_BYTES = 64 << 20
_MAX_STRINGS = 100_000
_MAX_VARINT_BYTES = 10


def check_index(prefix: str) -> None:
    """Checks that a checkpoint's tensors are all within its data files.

    Args:
      prefix: the checkpoint's prefix; a path or a URL.

    Raises:
      ValueError, KeyError, IndexError, struct.error, DecodeError: the index is
        damaged, or declares data that the data files lack.
      OSError: a file is missing or not a regular file.
    """
    path = f"{prefix}.index"
    size = files.stat(path).st_size
    if size > _MAX_INDEX_BYTES:
        raise ValueError(
            f"its index has {size:,} bytes, more than {_MAX_INDEX_BYTES:,}"
        )
    records = _records(files.read(path))
    key, value = next(records)
    if key:
        raise ValueError("its index does not begin with a header")
    header = tensor_bundle_pb2.BundleHeaderProto.FromString(value)
    sizes: dict[int, int] = {}
    for key, value in records:
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
        shard = entry.shard_id
        if not 0 <= shard < header.num_shards:
            raise ValueError(f"{_name(key)} is in a data file it does not have")
        data = f"{prefix}.data-{shard:05d}-of-{header.num_shards:05d}"
        if shard not in sizes:
            if not files.is_file(data):
                raise ValueError(f"{data} is missing, or not a regular file")
            sizes[shard] = files.stat(data).st_size
        _check_entry(_name(key), entry, data, sizes[shard])


def _check_entry(name: str, entry: Any, data: str, data_bytes: int) -> None:
    """Checks one tensor's shape and position."""
    dims = [dim.size for dim in entry.shape.dim]
    if entry.slices or entry.shape.unknown_rank or min(dims, default=0) < 0:
        raise ValueError(f"{name} has a shape or slices that are unsupported")
    if entry.offset < 0 or not 0 <= entry.size <= data_bytes - entry.offset:
        raise ValueError(f"{name} is beyond the end of the data file")
    dtype, count = tf.as_dtype(entry.dtype), math.prod(dims)
    if dtype == tf.string:
        _check_strings(name, entry, data, count)
    elif dtype in (tf.variant, tf.resource) or dtype.size < 1:
        raise ValueError(f"{name} is of type {dtype.name}, not numbers")
    elif entry.size != count * dtype.size:
        raise ValueError(
            f"{name} has {entry.size:,} bytes, and {count * dtype.size:,} by"
            " its shape"
        )


def _check_strings(name: str, entry: Any, data: str, count: int) -> None:
    """Checks that the lengths of strings add up to their stored size."""
    if count > min(_MAX_STRINGS, entry.size):
        raise ValueError(f"{name} declares {count:,} strings")
    # The format: all lengths, a checksum of the lengths, all strings.
    lengths = files.read(
        data, entry.offset, min(entry.size, count * _MAX_VARINT_BYTES)
    )
    total = position = 0
    for _ in range(count):
        length, position = _varint(lengths, position)
        total += length
    if position + total > entry.size:
        raise ValueError(f"{name} declares {total:,} bytes of strings")


def _records(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table, in order."""
    if len(table) < _FOOTER_BYTES or not table.endswith(INDEX_END):
        raise ValueError("its index is incomplete")
    footer, position = table[-_FOOTER_BYTES:], 0
    for _ in range(2):  # The handle of a block that TensorFlow leaves empty.
        _, position = _varint(footer, position)
    last = b""
    for _, handle in _block(table, footer[position:]):
        for key, value in _block(table, handle):
            # Only the first key may be empty.
            if key <= last and (key or last):
                raise ValueError("its index is not sorted")
            last = key
            yield key, value


def _block(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of one block."""
    start, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    if start + size + _TRAILER_BYTES > len(table):
        raise ValueError("its index has a block beyond its end")
    if table[start + size]:
        raise ValueError("its index is compressed")
    block = table[start : start + size]
    (count,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 - 4 * count
    restarts = set(struct.unpack_from(f"<{count}I", block, end))
    key, position = b"", 0
    while position < end:
        begin = position
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + fresh + length > end:
            raise ValueError("its index has a record beyond its block")
        if not shared:
            restarts.discard(begin)
        key = key[:shared] + block[position : position + fresh]
        position += fresh + length
        yield key, block[position - length : position]
    # TensorFlow may start at any restart point, so each must be the start of a
    # record that was checked.
    if restarts:
        raise ValueError("its index has a restart that is not a record")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns the number at a position, and the position after it."""
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("its index has an incomplete number")


def _name(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
