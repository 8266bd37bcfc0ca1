"""Whole files that are kept: found again, or absent; never half."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

from trainer.data.kept import RowCache, RowSpec
from trainer.data.kept_files import KeptFiles

KIND = {"kind": "thing", "size": 3}


def content_of(folder: pathlib.Path) -> pathlib.Path:
    (found,) = folder.rglob("content")
    return found


def test_what_is_written_is_read(tmp_path: pathlib.Path) -> None:
    kept = KeptFiles(str(tmp_path / "cache"), disk_bytes=10**9)
    assert kept.read(KIND) is None
    for content in (b"one", b"", b"another"):
        kept.write(KIND, content)
        assert kept.read(KIND) == content
        assert (
            KeptFiles(str(tmp_path / "cache"), disk_bytes=10**9).read(KIND)
            == content
        )
    assert kept.read({**KIND, "size": 4}) is None
    # Nothing is left aside.
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def damaged(content: bytes, how: str) -> bytes:
    return {
        "cut": content[:-1],
        "one bit": content[:-1] + bytes([content[-1] ^ 1]),
        "longer": content + b"\0",
        "empty": b"",
        "digest alone": content[:16],
        "digest": b"\0" + content[1:],
    }[how]


@pytest.mark.parametrize(
    "how", ["cut", "one bit", "longer", "empty", "digest alone", "digest"]
)
def test_what_is_damaged_is_absent(tmp_path: pathlib.Path, how: str) -> None:
    kept = KeptFiles(str(tmp_path), disk_bytes=10**9)
    kept.write(KIND, b"content")
    path = content_of(tmp_path)
    path.write_bytes(damaged(path.read_bytes(), how))
    assert kept.read(KIND) is None
    kept.write(KIND, b"again")
    assert kept.read(KIND) == b"again"


def test_no_folder_keeps_nothing() -> None:
    kept = KeptFiles(None, disk_bytes=0)
    kept.write(KIND, b"content")
    assert kept.read(KIND) is None


def test_a_folder_that_cannot_be_written_to(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    kept = KeptFiles(str(tmp_path / "file" / "cache"), disk_bytes=10**9)
    kept.write(KIND, b"content")
    assert kept.read(KIND) is None


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptFiles(str(tmp_path), disk_bytes=10**9)
    kept.write(KIND, b"first")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    kept.write(KIND, b"second")
    assert kept.read(KIND) == b"first"
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_what_is_too_large_is_not_kept(tmp_path: pathlib.Path) -> None:
    kept = KeptFiles(str(tmp_path), disk_bytes=100)
    kept.write(KIND, b"x" * 101)
    assert kept.read(KIND) is None
    # One goes for the other.
    kept.write({"kind": "one"}, b"x" * 60)
    os.utime(next(tmp_path.rglob("whole")), (9, 9))
    kept.write({"kind": "two"}, b"x" * 60)
    assert kept.read({"kind": "one"}) is None
    assert kept.read({"kind": "two"}) == b"x" * 60


def test_a_cache_that_is_only_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptFiles(str(tmp_path), disk_bytes=10**9)
    kept.write(KIND, b"content")

    def refuse(*args: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert kept.read(KIND) == b"content"


def test_rows_that_need_the_room_take_it(tmp_path: pathlib.Path) -> None:
    """The file least recently used goes first; one just read stays."""
    kept = KeptFiles(str(tmp_path), disk_bytes=10**9)
    old, used = {"kind": "old"}, {"kind": "used"}
    for kind in (used, old):
        kept.write(kind, b"x" * 1000)
    for place in tmp_path.rglob("whole"):
        os.utime(place, (9, 9))
    assert kept.read(used) is not None
    cache = RowCache(
        mode="disk", folder=str(tmp_path), ram_bytes=0, disk_bytes=2100
    )

    def compute(rows: Any) -> Any:
        yield [np.zeros((1, 1000), np.uint8)]

    cache.rows(
        ["digest"],
        kind={"kind": "rows"},
        specs=[RowSpec(shape=(1000,), dtype="uint8")],
        compute=compute,
        warn=print,
    )
    assert kept.read(used) == b"x" * 1000
    assert kept.read(old) is None
