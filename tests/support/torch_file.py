"""A writer for PyTorch's old file format, without PyTorch."""

from __future__ import annotations

import collections
import io
import pickle
import sys
import types
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Tensor:
    """Pickles as a tensor of PyTorch does."""

    def __init__(self, key: str, value: np.ndarray, rebuild: Any) -> None:
        self.key, self.value, self.rebuild = key, value, rebuild

    def __reduce__(self) -> Any:
        strides = tuple(s // self.value.itemsize for s in self.value.strides)
        storage = _Storage(self.key, self.value)
        return self.rebuild, (
            storage,
            0,
            self.value.shape,
            strides,
            False,
            collections.OrderedDict(),
        )


class _Storage:
    def __init__(self, key: str, value: np.ndarray) -> None:
        self.key, self.value = key, value


def write(tensors: Mapping[str, np.ndarray], **changes: Any) -> bytes:
    """Returns the bytes of a file with float32 or int64 tensors.

    Args:
      tensors: arrays by name; written in their memory order, C or not.
      changes: replacements for magic, protocol, system, table or keys.
    """
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        kind = type(name, (), {"__module__": "torch"})
        setattr(torch, name, kind)

    def _rebuild_tensor_v2(*arguments: Any) -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            if not isinstance(found, _Storage):
                return None
            long = found.value.dtype == np.int64
            kind = torch.LongStorage if long else torch.FloatStorage
            return (
                "storage",
                kind,
                found.key,
                "cpu",
                found.value.size,
                None,
            )

    stream = io.BytesIO()
    table = collections.OrderedDict(
        (name, _Tensor(str(i), value, _rebuild_tensor_v2))
        for i, (name, value) in enumerate(tensors.items())
    )
    keys = [str(i) for i in range(len(tensors))]
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        for part in (
            changes.get("magic", MAGIC),
            changes.get("protocol", PROTOCOL),
            changes.get("system", {"little_endian": True}),
            changes.get("table", table),
            changes.get("keys", keys),
        ):
            Pickler(stream, 2).dump(part)
    for value in tensors.values():
        stream.write(np.int64(value.size).tobytes())
        # In memory order.
        order = np.argsort([-step for step in value.strides], kind="stable")
        stream.write(value.transpose(order).tobytes())
    return stream.getvalue()
