"""Reads the positions and the labels of the records of a TFRecord file."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from trainer.data.decode import image_feature
from trainer.storage import files

# A TFRecord holds 8 bytes of length and 4 of checksum before the payload, and
# 4 of checksum after it.
_LENGTH_BYTES = 8
_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_PARSE_BATCH = 64
_REMOTE_BUFFER_BYTES = 8 << 20


def record_spans(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the position of the payload of each record of a TFRecord file.

    Returns:
      Offsets and lengths in bytes, int64 (records,) each.

    Raises:
      OSError: the file cannot be read.
      ValueError: the last record is truncated.
      tf.errors.OpError: the same errors for a file at a URL.
    """
    if files.is_remote(path):
        return _remote_spans(path)
    spans = []
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        position = 0
        while position < size:
            stream.seek(position)
            header = stream.read(_HEADER_BYTES)
            length = int.from_bytes(header[:_LENGTH_BYTES], "little")
            spans.append((position + _HEADER_BYTES, length))
            position += _HEADER_BYTES + length + _FOOTER_BYTES
    if position != size:
        raise ValueError("truncated record")
    columns = np.array(spans, np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _remote_spans(path: str) -> tuple[np.ndarray, np.ndarray]:
    # One pass over the file costs less than one request per record.
    lengths = np.fromiter(
        tf.data.TFRecordDataset(path, buffer_size=_REMOTE_BUFFER_BYTES)
        .map(tf.strings.length)
        .as_numpy_iterator(),
        np.int64,
    )
    ends = np.cumsum(lengths + _HEADER_BYTES + _FOOTER_BYTES)
    return ends - lengths - _FOOTER_BYTES, lengths


def read_labels(
    path: str,
    image_key: str,
    label_key: str,
    image_shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Returns the labels; checks that each record has an image.

    Args:
      path: the file.
      image_key: name of the image feature.
      label_key: name of the label feature.
      image_shape: see `image_of_record`.

    Returns:
      int64 (records,).

    Raises:
      tf.errors.OpError: a record is damaged or lacks one of the features.
    """
    spec = {
        image_key: image_feature(image_shape),
        label_key: tf.io.FixedLenFeature((), tf.int64),
    }
    labels = (
        tf.data.TFRecordDataset(path)
        .batch(_PARSE_BATCH)
        .map(lambda batch: tf.io.parse_example(batch, spec)[label_key])
    )
    return np.concatenate([np.zeros(0, np.int64), *labels.as_numpy_iterator()])
