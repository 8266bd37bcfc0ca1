"""Positions and labels of the records of a TFRecord file."""

from __future__ import annotations

import pathlib
import uuid

import numpy as np
import pytest
import tensorflow as tf

from tests.support.image_blocks import image_blocks
from tests.support.tfds_images import png
from trainer.data.check import check_images, read_encoded_image
from trainer.data.records import read_labels, record_spans
from trainer.data.samples import Samples
from trainer.storage import files


@pytest.fixture(params=["local", "remote"])
def path(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """Path of a shard, local or remote."""
    if request.param == "local":
        return str(tmp_path / "records")
    return f"ram://{uuid.uuid4().hex}/records"


def _write(path: str, records: list[bytes]) -> None:
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)


def test_spans_locate_every_payload(path: str) -> None:
    records = [b"one", b"", b"three" * 1000]
    _write(path, records)
    content = files.read(path)
    offsets, lengths = record_spans(path)
    assert [
        content[offset : offset + length]
        for offset, length in zip(offsets, lengths, strict=True)
    ] == records


def test_a_truncated_shard_is_an_error(path: str) -> None:
    _write(path, [b"one", b"three" * 1000])
    files.truncate(path, files.stat(path).st_size - 7)
    with pytest.raises((ValueError, tf.errors.DataLossError)):
        record_spans(path)


def test_an_empty_shard_has_no_records(path: str) -> None:
    _write(path, [])
    assert [column.tolist() for column in record_spans(path)] == [[], []]


def _example(image: bytes, label: int) -> bytes:
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


def test_labels_and_images_of_records_are_read(path: str) -> None:
    images = [png(seed).getvalue() for seed in range(3)]
    _write(path, [_example(p, 7 + i) for i, p in enumerate(images)])
    offsets, lengths = record_spans(path)
    labels = read_labels(path, "image", "label")
    assert labels.tolist() == [7, 8, 9]
    samples = Samples(
        ids=("a", "b", "c"),
        labels=labels.astype(np.int32),
        paths=(path,) * 3,
        offsets=offsets,
        lengths=lengths,
        record_image_key="image",
    )
    found = [read_encoded_image(samples, row) for row in range(3)]
    assert found == images
    result = check_images(samples, split="train")
    assert result.bad == ()
    assert {file.size for file in result.files} == {files.stat(path).st_size}
    rows = np.array([2, 0])
    (block,) = image_blocks(samples, rows, image_px=9, block=2)
    for image, row in zip(block, rows, strict=True):
        whole = tf.io.decode_png(images[row])
        resized = tf.round(tf.image.resize(whole, (9, 9)))
        np.testing.assert_array_equal(image, tf.cast(resized, tf.uint8))
