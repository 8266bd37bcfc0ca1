"""Records of ArrayRecord files, by their numbers."""

from __future__ import annotations

import errno
import functools
import resource
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.storage import files

# As the library's own data source opens them: records are read in any order,
# so what stands behind one is not wanted.
_READER_OPTIONS = "readahead_buffer_size:0"
_BUFFER_BYTES = 32 << 10
# Of the files that a process may have open, which often are only 1,024. Beyond
# them each record would open its file and read its index again.
_OPEN_FILES = (
    max(64, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 8192)) // 2
)
_READ_AT_ONCE = 64


def is_installed() -> bool:
    """Whether the library that reads them is there."""
    try:
        import array_record.python.array_record_module  # noqa: F401
    except ImportError:
        return False
    return True


def count_records(path: str) -> int:
    """How many records a file has.

    Raises:
      OSError: there is no such file, or its index cannot be read.
    """
    files.stat(path)
    reader = _reader(path)
    # The library says neither here nor there what is wrong.
    if not reader.ok():
        raise OSError(errno.EIO, "no ArrayRecord file, or a damaged one", path)
    return int(reader.num_records())


def read_records(paths: Sequence[str], numbers: Sequence[int]) -> list[bytes]:
    """Records of some files.

    Args:
      paths: a file for each record.
      numbers: of the records in their files, from 0.

    Returns:
      The payloads, in the order asked for.

    Raises:
      OSError: one cannot be read; or is damaged, by its checksum.
    """
    found: list[bytes] = [b""] * len(paths)
    places: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        places.setdefault(path, []).append(place)
    for path, of_path in places.items():
        try:
            records = _reader(path).read([int(numbers[i]) for i in of_path])
        # All that the library raises.
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise OSError(errno.EIO, text, path) from None
        for place, record in zip(of_path, records, strict=True):
            found[place] = record
    return found


def read_columns(
    path: str, image_key: str, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """What has to be known of the records of a file; checks that all are whole.

    Returns:
      Labels and lengths in bytes, int64 (records,) each.

    Raises:
      OSError: the file or a record cannot be read.
      tf.errors.OpError: a record lacks one of the features.
    """
    spec = {
        image_key: tf.io.FixedLenFeature((), tf.string),
        label_key: tf.io.FixedLenFeature((), tf.int64),
    }
    # It may have been written anew since this process opened it.
    _reader.cache_clear()
    labels, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for records in _in_turn(path):
        labels.append(tf.io.parse_example(records, spec)[label_key].numpy())
        lengths.append(np.array([len(record) for record in records], np.int64))
    return np.concatenate(labels), np.concatenate(lengths)


def _in_turn(path: str) -> Iterator[list[bytes]]:
    count = count_records(path)
    for start in range(0, count, _READ_AT_ONCE):
        numbers = range(start, min(start + _READ_AT_ONCE, count))
        yield read_records([path] * len(numbers), numbers)


@functools.lru_cache(_OPEN_FILES)
def _reader(path: str) -> Any:
    """Several threads may read by it at a time."""
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(
        files.fetched(path),
        options=_READER_OPTIONS,
        file_reader_buffer_size=_BUFFER_BYTES,
    )
