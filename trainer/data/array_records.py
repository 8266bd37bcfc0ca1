"""Reads records of ArrayRecord files by number."""

from __future__ import annotations

import errno
import functools
import resource
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.decode import image_feature
from trainer.storage import files

# The options of the library's own data source: records are read in any order,
# so reading ahead would be wasted.
_READER_OPTIONS = "readahead_buffer_size:0"
_BUFFER_BYTES = 32 << 10
# Half of the files that a process may have open, often only 1,024. With more
# files than this, each record would open its file and read its index again.
_OPEN_FILES = (
    max(64, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 8192)) // 2
)
_READ_AT_ONCE = 64


def is_installed() -> bool:
    """Returns whether the `array_record` package is installed."""
    try:
        import array_record.python.array_record_module  # noqa: F401
    except ImportError:
        return False
    return True


def count_records(path: str) -> int:
    """Returns the number of records in a file.

    Raises:
      OSError: the file is missing, or its index cannot be read.
    """
    files.stat(path)
    reader = _reader(path)
    # The library does not tell what is wrong.
    if not reader.ok():
        raise OSError(errno.EIO, "not an ArrayRecord file, or damaged", path)
    return int(reader.num_records())


def read_records(paths: Sequence[str], numbers: Sequence[int]) -> list[bytes]:
    """Reads records of one or more files.

    Args:
      paths: the file of each record.
      numbers: the number of each record in its file, from 0.

    Returns:
      The payloads, in the order of the arguments.

    Raises:
      OSError: a record cannot be read, or its checksum does not match.
    """
    found: list[bytes] = [b""] * len(paths)
    places: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        places.setdefault(path, []).append(place)
    for path, of_path in places.items():
        try:
            records = _reader(path).read([int(numbers[i]) for i in of_path])
        # The only type that the library raises.
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise OSError(errno.EIO, text, path) from None
        for place, record in zip(of_path, records, strict=True):
            found[place] = record
    return found


def read_columns(
    path: str,
    image_key: str,
    label_key: str,
    image_shape: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the labels and sizes of all records; checks that each is intact.

    Args:
      path: the file.
      image_key: name of the image feature, which must exist.
      label_key: name of the label feature.
      image_shape: see `image_of_record`.

    Returns:
      Labels and lengths in bytes, int64 (records,) each.

    Raises:
      OSError: the file or a record cannot be read.
      tf.errors.OpError: a record lacks one of the features.
    """
    spec = {
        image_key: image_feature(image_shape),
        label_key: tf.io.FixedLenFeature((), tf.int64),
    }
    # The file may have been replaced since this process opened it.
    _reader.cache_clear()
    labels, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for records in _blocks(path):
        labels.append(tf.io.parse_example(records, spec)[label_key].numpy())
        lengths.append(np.array([len(record) for record in records], np.int64))
    return np.concatenate(labels), np.concatenate(lengths)


def _blocks(path: str) -> Iterator[list[bytes]]:
    """Yields all records of a file, some at a time."""
    count = count_records(path)
    for start in range(0, count, _READ_AT_ONCE):
        numbers = range(start, min(start + _READ_AT_ONCE, count))
        yield read_records([path] * len(numbers), numbers)


@functools.lru_cache(_OPEN_FILES)
def _reader(path: str) -> Any:
    """Returns the reader of a file; threads may share it."""
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(
        files.fetched(path),
        options=_READER_OPTIONS,
        file_reader_buffer_size=_BUFFER_BYTES,
    )
