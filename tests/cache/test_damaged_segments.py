"""Damaged segments on disk are reported, removed and computed again."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.cache.asker import (
    Asker,
    assert_rows,
    expected,
    segments,
)
from trainer.cache.entries import MARKER
from trainer.cache.segments import StoredArray


def _shorten(name: str, size: int) -> Callable[[pathlib.Path], None]:
    def spoil(segment: pathlib.Path) -> None:
        path = segment / name
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def _flip(name: str, at: int) -> Callable[[pathlib.Path], None]:
    def spoil(segment: pathlib.Path) -> None:
        content = bytearray((segment / name).read_bytes())
        content[at] ^= 0x10
        (segment / name).write_bytes(content)

    return spoil


def _drop(name: str) -> Callable[[pathlib.Path], None]:
    return lambda segment: (segment / name).unlink()


def _append(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _link(path: pathlib.Path) -> None:
    """Replaces a file by a link to a file with the same content."""
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def _index(change: Callable[[Any], Any]) -> Callable[[pathlib.Path], None]:
    def spoil(segment: pathlib.Path) -> None:
        path = segment / "segment.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoil


DAMAGE: dict[str, Callable[[pathlib.Path], None]] = {
    "empty_array": _shorten("0.rows", 0),
    "no_header": _shorten("0.rows", 50),
    "truncated": _shorten("0.rows", 71),
    "one_byte_short": _shorten("1.rows", -1),
    "flipped_first": _flip("0.rows", 0),
    "flipped_last": _flip("1.rows", -1),
    "no_array": _drop("1.rows"),
    "no_index": _drop("segment.json"),
    "empty_index": _shorten("segment.json", 0),
    "half_an_index": _shorten("segment.json", 20),
    "invalid_json": _flip("segment.json", 0),
    "index_is_a_list": _index(lambda index: []),
    "index_is_empty": _index(lambda index: {}),
    "digest_lost": _index(lambda index: {**index, "digests": ["a", "b"]}),
    "no_digests": _index(lambda index: {**index, "digests": None}),
    "checksum_lost": _index(
        lambda index: {**index, "checksums": index["checksums"][:1]}
    ),
    "checksum_wrong": _index(lambda index: {**index, "checksums": [1, 2]}),
    "other_shape": _index(
        lambda index: {**index, "arrays": [[[3, 2], "float32"], [[2], "uint8"]]}
    ),
    "other_type": _index(
        lambda index: {**index, "arrays": [[[2, 3], "int32"], [[2], "uint8"]]}
    ),
    "longer": lambda segment: _append(segment / "0.rows"),
    "a_link": lambda segment: _link(segment / "0.rows"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_reported_and_rows_computed_again(
    tmp_path: pathlib.Path, damage: str
) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    (segment,) = segments(tmp_path)
    DAMAGE[damage](segment)
    asker = Asker(tmp_path)
    asker.check("abc", computed="abc")
    (warning,) = asker.warnings
    assert warning.startswith(f"{segment}: cached rows are damaged (")
    assert warning.endswith("; they are removed and computed again")
    assert "\n" not in warning
    # The cache did not create the link, so the link and its folder stay.
    assert not segment.exists() or damage == "a_link"
    again = Asker(tmp_path)
    again.check("abc", computed="")
    assert again.warnings == []


def test_every_flipped_byte_is_detected(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    (segment,) = segments(tmp_path)
    content = (segment / "0.rows").read_bytes()
    index = (segment / "segment.json").read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        segment.mkdir(exist_ok=True)
        (segment / "0.rows").write_bytes(flipped)
        (segment / "1.rows").write_bytes(
            np.stack([expected(d)[1] for d in "abc"]).tobytes()
        )
        (segment / "segment.json").write_bytes(index)
        (segment / MARKER).touch()
        found = Asker(tmp_path).rows("abc")
        assert found is not None
        assert_rows(found, "abc")
        for other in segments(tmp_path):
            shutil.rmtree(other)


def test_one_damaged_segment_leaves_the_others(tmp_path: pathlib.Path) -> None:
    first = Asker(tmp_path)
    first.check("ab", computed="ab")
    (good,) = segments(tmp_path)
    first.check("abcd", computed="cd")
    (bad,) = set(segments(tmp_path)) - {good}
    DAMAGE["flipped_last"](bad)
    asker = Asker(tmp_path)
    asker.check("abcd", computed="cd")
    assert len(asker.warnings) == 1


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("open", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
        ("fstat", OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
        ("pread", MemoryError("Unable to allocate 4 MiB")),
    ],
    ids=["files", "kernel_memory", "memory"],
)
def test_rows_outlive_a_shortage_of_memory_or_files(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    error: Exception,
) -> None:
    """The segment is good, so the next process reads it."""
    Asker(tmp_path).check("abc", computed="abc")
    (segment,) = segments(tmp_path)
    content = {path: path.read_bytes() for path in segment.iterdir()}
    real = getattr(os, function)

    def fail(first: Any, *rest: Any, **more: Any) -> Any:
        if function == "open" and not str(first).endswith(".rows"):
            return real(first, *rest, **more)
        raise error

    asker = Asker(tmp_path, ram_bytes=0)
    monkeypatch.setattr(os, function, fail)
    asker.rows("abc")
    monkeypatch.undo()
    assert asker.warnings[0].startswith(
        f"{segment}: cached rows cannot be read now ("
    )
    assert {path: path.read_bytes() for path in segment.iterdir()} == content
    Asker(tmp_path).check("abc", computed="")


def test_rows_without_memory_to_load_them_are_read_from_files(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asker(tmp_path).check("abc", computed="abc")

    def fail(array: StoredArray) -> np.ndarray:
        raise MemoryError("Unable to allocate 4 GiB")

    monkeypatch.setattr(StoredArray, "load", fail)
    asker = Asker(tmp_path)
    asker.check("abc", computed="")
    asker.check("abcd", computed="d")
    assert asker.warnings == []
