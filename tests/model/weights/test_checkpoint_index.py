"""Checkpoint indexes that declare data which the data files lack."""

from __future__ import annotations

import pathlib
import struct

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from trainer.model.weights.checkpoint_index import INDEX_END, check_index

DATA = ".data-00000-of-00001"

pytestmark = pytest.mark.usefixtures("in_seconds")


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def block(records: list[tuple[bytes, bytes]], restart: int = 0) -> bytes:
    body = b"".join(
        bytes([0]) + varint(len(key)) + varint(len(value)) + key + value
        for key, value in records
    )
    return body + struct.pack("<II", restart, 1)


def table(records: list[tuple[bytes, bytes]], restart: int = 0) -> bytes:
    """Returns an index with these records; its checksums are zero."""
    data = block(records, restart) + bytes(5)
    handle = varint(0) + varint(len(data) - 5)
    top = block([(b"z", handle)])
    footer = bytes(2) + varint(len(data)) + varint(len(top))
    return data + top + bytes(5) + footer.ljust(40, b"\0") + INDEX_END


def header(shards: int = 1) -> tuple[bytes, bytes]:
    proto = tensor_bundle_pb2.BundleHeaderProto(num_shards=shards)
    return b"", proto.SerializeToString()


def entry(
    *sides: int, dtype: int = 1, name: bytes = b"a", **fields: int
) -> tuple[bytes, bytes]:
    """Returns the record of a tensor; float32 unless `dtype` is given."""
    proto = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, **fields)
    for side in sides:
        proto.shape.dim.add(size=side)
    return name, proto.SerializeToString()


STRING, RESOURCE = tf.string.as_datatype_enum, tf.resource.as_datatype_enum


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (table([header(), entry(10**6, 10**6, size=8)]), "a has 8 bytes, and"),
        (table([header(), entry(-1, size=8)]), "a has a shape or slices"),
        (table([header(), entry(25, size=100, offset=1)]), "beyond the end"),
        (table([header(), entry(1, size=4, offset=-4)]), "beyond the end"),
        (table([header(), entry(1, size=4, shard_id=1)]), "a data file it doe"),
        (table([header(2), entry(1, size=4)]), "of-00002 is missing"),
        (table([header(), entry(1, size=4, dtype=RESOURCE)]), "not numbers"),
        (table([header(), entry(1, size=4, dtype=99)]), "99"),
        (table([header(), entry(10**9, size=9, dtype=STRING)]), "00 strings"),
        (table([header(), entry(1, size=9, dtype=STRING)]), "127 bytes of st"),
        (table([entry(1, size=4)]), "does not begin with a header"),
        (table([header(), entry(0, name=b"b"), entry(0)]), "not sorted"),
        (table([header(), entry(1, size=4)], restart=3), "not a record"),
        (table([header()])[:-1], "incomplete"),
        (b"", "incomplete"),
    ],
    ids=[
        "size",
        "negative",
        "end",
        "before",
        "shard",
        "missing",
        "resource",
        "type",
        "strings",
        "string",
        "header",
        "order",
        "restart",
        "cut",
        "empty",
    ],
)
def test_an_index_at_odds_with_its_data_is_rejected(
    index: bytes, message: str, tmp_path: pathlib.Path
) -> None:
    prefix = tmp_path / "a"
    (tmp_path / "a.index").write_bytes(index)
    (tmp_path / f"a{DATA}").write_bytes(b"\x7f" * 100)
    with pytest.raises((ValueError, TypeError), match=message):
        check_index(str(prefix))


def test_an_index_written_by_tensorflow_is_accepted(
    tmp_path: pathlib.Path,
) -> None:
    """Tests several blocks, strings and all dtypes of variables."""
    values = {f"v{i}": tf.Variable(np.ones(i % 5)) for i in range(500)}
    values["text"] = tf.Variable(["a", "b" * 300])
    values["flag"] = tf.Variable(True)
    values["half"] = tf.Variable(1.0, dtype=tf.bfloat16)
    prefix = tf.train.Checkpoint(**values).write(str(tmp_path / "a"))
    check_index(prefix)
