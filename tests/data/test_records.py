"""Where the records of a TFRecord file lie."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from trainer.data.records import record_spans


def test_record_spans(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "records")
    records = [b"one", b"", b"three" * 1000]
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    content = pathlib.Path(path).read_bytes()
    offsets, lengths = record_spans(path)
    assert [
        content[offset : offset + length]
        for offset, length in zip(offsets, lengths, strict=True)
    ] == records
