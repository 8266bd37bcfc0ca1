"""HDF5 files that try to hang, fill memory or read other files."""

from __future__ import annotations

import os
import pathlib
import zlib
from collections.abc import Callable

import h5py
import keras
import numpy as np
import pytest

from tests.support.weights import load, refusal
from trainer.model.weights import hdf5_reader
from trainer.model.weights.hdf5 import open_hdf5

KERNEL = "layers/conv2d/vars/0"

pytestmark = pytest.mark.usefixtures("in_seconds")


@pytest.mark.parametrize("name", ["layers", "model_weights", "layers/conv2d"])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "external"])
def test_links_are_rejected(
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


def test_deeply_nested_groups_are_rejected(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.create_group("/".join("a" * 2000))
    assert "groups more than 50 levels deep" in refusal(path, tiny)


def test_too_many_objects_are_rejected(
    tiny: keras.Model, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_reader, "_MAX_LOOKUPS", 100)
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        for number in range(100):
            file.create_group(f"g{number}")
    assert "more than 100 objects and names" in refusal(path, tiny)


def test_too_many_models_are_rejected(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    with h5py.File(path, "r+") as file:
        for number in range(101):
            file.create_group(f"g{number}/layers")
    assert "more than 100 models inside models" in refusal(path, tiny)


def test_strings_that_hang_hdf5_are_rejected(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    """HDF5 1.14.6 loops forever over an object of size 0."""
    path = tmp_path / "a.weights.h5"
    tiny.save_weights(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    assert "its strings are damaged" in refusal(path, tiny)


def test_a_string_that_declares_gigabytes_is_rejected(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    """HDF5 1.14.6 allocates them before it reads the string."""
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
    """Tests enough attributes for a second header block, and non-ASCII text."""
    path = tmp_path / "a.h5"
    values = {f"n\u00e4me{i}": "\u00e9" * i for i in range(40)}
    with h5py.File(path, "w", userblock_size=userblock) as file:
        group = file.create_group("a/b")
        group.attrs.update(values)
    with open_hdf5("a", str(path), "weights_h5") as reader:
        group = reader.child(reader.root, "a/b")
        for name, value in values.items():
            assert reader.attribute(group, name) == value
