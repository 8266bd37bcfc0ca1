"""Files made to hang, fill memory or lead elsewhere: one line each."""

from __future__ import annotations

import os
import pathlib
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from trainer.errors import TrainerError
from trainer.model.weights import hdf5_reader
from trainer.model.backbones import find_backbone
from trainer.model.weights.checkpoint_index import INDEX_END, check_index
from trainer.model.weights.hdf5 import open_hdf5
from trainer.model.weights.load import load_weights, plan_weights

BACKBONE = find_backbone("MobileNetV2")
KERNEL = "layers/conv2d/vars/0"
DATA = ".data-00000-of-00001"


@pytest.fixture(scope="module")
def tiny() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(x))


@pytest.fixture(autouse=True)
def in_seconds() -> Iterator[None]:
    """Fails a test that waits for a pipe."""

    def fail(*_: object) -> None:
        raise TimeoutError("took 20 seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def load(path: pathlib.Path, model: keras.Model) -> None:
    plan = plan_weights(str(path), backbone=BACKBONE, weights_origin=None)
    load_weights(model, plan, backbone=BACKBONE, backbone_args={})


def refusal(path: pathlib.Path, model: keras.Model) -> str:
    """What is wrong with a file, without the flag that names it."""
    with pytest.raises(TrainerError) as caught:
        load(path, model)
    flag, _, rest = str(caught.value).partition(": ")
    assert flag.startswith(f"--weights={str(path)!r}"[:-1])
    assert rest.isprintable()
    return rest


def pipe(path: pathlib.Path) -> None:
    os.mkfifo(path)


def list_that_is_a_pipe(path: pathlib.Path) -> None:
    path.mkdir()
    os.mkfifo(path / "checkpoint")


def damaged_list(path: pathlib.Path) -> None:
    path.mkdir()
    (path / "checkpoint").write_bytes(b"model_checkpoint_path: \xff")


def data_that_is_a_pipe(path: pathlib.Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(path))
    os.remove(f"{path}{DATA}")
    os.mkfifo(f"{path}{DATA}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "cannot be read (not a regular file); give a file you may read"),
        (list_that_is_a_pipe, "/checkpoint: cannot be read (not a regular"),
        (damaged_list, "/checkpoint: cannot be read ("),
        (data_that_is_a_pipe, "is missing, or not a regular file); the file"),
    ],
    ids=["file", "list", "damaged-list", "data"],
)
def test_no_pipe_is_waited_for(
    make: Callable[[pathlib.Path], None],
    message: str,
    tiny: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    make(tmp_path / "a")
    assert message in f"/{refusal(tmp_path / 'a', tiny)}".replace(
        f"{tmp_path}/a", ""
    )


@pytest.mark.parametrize("name", ["layers", "model_weights", "layers/conv2d"])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "external"])
def test_no_link_of_an_hdf5_file_is_followed(
    name: str, soft: bool, tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    os.mkfifo(tmp_path / "pipe")
    tiny.save_weights(path)
    link = h5py.SoftLink("/x") if soft else h5py.ExternalLink("pipe", "/a")
    with h5py.File(path, "r+") as file:
        file.move("layers", "kept")
        if "/" in name:
            file.copy("kept", "layers")
            del file[name]
        file[name] = link
    assert "is a link or stored outside the file" in refusal(path, tiny)


def stored_elsewhere(file: h5py.File, shape: tuple[int, ...]) -> None:
    where = [(os.path.join(os.path.dirname(file.filename), "pipe"), 0, 432)]
    file.create_dataset(KERNEL, shape, "f4", external=where)


def virtual(file: h5py.File, shape: tuple[int, ...]) -> None:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource("pipe", "a", shape)
    file.create_virtual_dataset(KERNEL, layout)


def huge(file: h5py.File, shape: tuple[int, ...]) -> None:
    sides = (10**6, 10**6, 1, 1)
    file.create_dataset(
        KERNEL, sides, "f4", chunks=(64, 64, 1, 1), compression="gzip"
    )


def chunk_that_is_huge(file: h5py.File, shape: tuple[int, ...]) -> None:
    file.create_dataset(
        KERNEL,
        shape,
        "f4",
        chunks=(1 << 8, 1 << 8, 3, 1 << 6),
        maxshape=(None,) * 4,
        compression="gzip",
    )


def chunk_that_unpacks(file: h5py.File, shape: tuple[int, ...]) -> None:
    data = file.create_dataset(
        KERNEL, shape, "f4", chunks=shape, compression="gzip"
    )
    packed = zlib.compress(bytes(1 << 20))
    data.id.write_direct_chunk((0, 0, 0, 0), packed)


def unknown_filter(file: h5py.File, shape: tuple[int, ...]) -> None:
    file.create_dataset(KERNEL, data=np.ones(shape, "f4"), compression="lzf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (stored_elsewhere, "is a link or stored outside the file"),
        (virtual, "is a link or stored outside the file"),
        (huge, "(kernel) is (1000000, 1000000, 1, 1) in the file"),
        (chunk_that_is_huge, "is stored in chunks of a wrong size"),
        (chunk_that_unpacks, "unpacks to more than its size"),
        (unknown_filter, "is compressed in an unsupported way"),
    ],
)
def test_arrays_are_checked_before_they_are_read(
    make: Callable[[h5py.File, tuple[int, ...]], None],
    message: str,
    tiny: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.weights.h5"
    os.mkfifo(tmp_path / "pipe")
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        shape = file[KERNEL].shape
        del file[KERNEL]
        make(file, shape)
    assert message in refusal(path, tiny)


@pytest.mark.parametrize("shuffle", [True, False])
def test_compressed_arrays_load(
    shuffle: bool, tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    wanted = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("f4")
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file.create_dataset(
            KERNEL,
            data=wanted,
            chunks=(2, 2, 2, 4),
            compression="gzip",
            shuffle=shuffle,
            fletcher32=shuffle,
        )
    load(path, tiny)
    np.testing.assert_array_equal(tiny.get_layer("conv").kernel, wanted)


def test_deeply_nested_groups_are_refused(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.create_group("/".join("a" * 2000))
    assert "groups more than 50 levels deep" in refusal(path, tiny)


def test_too_many_objects_are_refused(
    tiny: keras.Model, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_reader, "_MAX_LOOKUPS", 100)
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        for number in range(100):
            file.create_group(f"g{number}")
    assert "more than 100 objects and names" in refusal(path, tiny)


def test_too_many_models_are_refused(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        for number in range(101):
            file.create_group(f"g{number}/layers")
    assert "more than 100 models inside models" in refusal(path, tiny)


def test_strings_that_hang_hdf5_are_refused(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    """HDF5 1.14.6 loops forever over an object of no size."""
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    assert "its strings are damaged" in refusal(path, tiny)


def test_a_string_that_declares_gigabytes_is_refused(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    """HDF5 1.14.6 allocates them before it looks at the string."""
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL").to_bytes(8, "little")
    at = content.index(bytes([len("conv"), 0, 0, 0]) + heap)
    content[at : at + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert "attribute name is damaged" in refusal(path, tiny)


@pytest.mark.parametrize("userblock", [0, 512])
def test_strings_of_every_layout_are_read(
    userblock: int, tmp_path: pathlib.Path
) -> None:
    """So many that the header goes on elsewhere, and not of ASCII alone."""
    path = tmp_path / "a.h5"
    values = {f"n\u00e4me{i}": "\u00e9" * i for i in range(40)}
    with h5py.File(path, "w", userblock_size=userblock) as file:
        group = file.create_group("a/b")
        group.attrs.update(values)
    with open_hdf5("a", str(path), "weights_h5") as reader:
        group = reader.child(reader.root, "a/b")
        for name, value in values.items():
            assert reader.attribute(group, name) == value


def repack(
    path: pathlib.Path,
    compression: int = zipfile.ZIP_DEFLATED,
    **contents: bytes,
) -> None:
    """Writes the files of a `.keras` anew, some with other contents."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in old.items():
            archive.writestr(name, contents.get(name.split(".")[0], content))


def encrypt(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(magic, at + 1)
    path.write_bytes(content)


def compress_unknown(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset] = 77
            at = content.find(magic, at + 1)
    path.write_bytes(content)


def damage_stream(path: pathlib.Path) -> None:
    repack(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"config.json") + 20
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)


BOMB = bytes(65 << 20)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (encrypt, "config.json in it is encrypted; give a file that model."),
        (compress_unknown, "cannot be read (That compression method is not"),
        (damage_stream, "cannot be read (Error -3 while decompressing data"),
        (lambda path: repack(path, model=BOMB), "model.weights.h5 in it unpac"),
        (lambda path: repack(path, config=BOMB), "config.json in it unpacks"),
        (
            lambda path: repack(path, zipfile.ZIP_STORED, config=BOMB),
            "config.json in it unpacks from 68,157,440 bytes to 68,157,440,",
        ),
        (
            lambda path: repack(path, config=b"[" * 100_000),
            "cannot be read (maximum recursion depth exceeded",
        ),
    ],
    ids=[
        "encrypted",
        "compression",
        "stream",
        "weights-bomb",
        "config-bomb",
        "config-large",
        "config-deep",
    ],
)
def test_a_keras_archive_that_cannot_be_unpacked(
    spoil: Callable[[pathlib.Path], None],
    message: str,
    tiny: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.keras"
    tiny.save(path)
    spoil(path)
    assert refusal(path, tiny).startswith(message)


def test_a_packed_keras_archive_loads(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.keras"
    tiny.save(path)
    repack(path)
    load(path, tiny)


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
    """An index with these records; its checksums are zero."""
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
    """A record of a tensor; float32 if not said otherwise."""
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
def test_an_index_that_declares_what_is_not_there(
    index: bytes, message: str, tmp_path: pathlib.Path
) -> None:
    prefix = tmp_path / "a"
    (tmp_path / "a.index").write_bytes(index)
    (tmp_path / f"a{DATA}").write_bytes(b"\x7f" * 100)
    with pytest.raises((ValueError, TypeError), match=message):
        check_index(str(prefix))


def test_an_index_of_tensorflow_is_accepted(tmp_path: pathlib.Path) -> None:
    """With several blocks, strings, and variables of every kind."""
    values = {f"v{i}": tf.Variable(np.ones(i % 5)) for i in range(500)}
    values["text"] = tf.Variable(["a", "b" * 300])
    values["flag"] = tf.Variable(True)
    values["half"] = tf.Variable(1.0, dtype=tf.bfloat16)
    prefix = tf.train.Checkpoint(**values).write(str(tmp_path / "a"))
    check_index(prefix)
