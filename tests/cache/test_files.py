"""Whole files that are kept: found again, or absent; never half."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

from trainer.cache import CacheFolder, FileCache, RowCache, RowSpec

KIND = {"kind": "thing", "size": 3}


def cache_in(folder: pathlib.Path) -> FileCache:
    return FileCache(CacheFolder(str(folder), disk_bytes=10**9))


# Nothing is left aside.
EXPECTED = sorted([".transfer-trainer-entry", "CACHEDIR.TAG", "content"])


def files_in(folder: pathlib.Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def content_of(folder: pathlib.Path) -> pathlib.Path:
    (found,) = folder.rglob("content")
    return found


def test_what_is_written_is_read(tmp_path: pathlib.Path) -> None:
    cache = cache_in(tmp_path / "cache")
    assert cache.read(KIND) is None
    for content in (b"one", b"", b"another"):
        cache.write(KIND, content)
        assert cache.read(KIND) == content
        assert (
            FileCache(
                CacheFolder(str(tmp_path / "cache"), disk_bytes=10**9)
            ).read(KIND)
            == content
        )
    assert cache.read({**KIND, "size": 4}) is None
    assert files_in(tmp_path) == EXPECTED


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
    cache = cache_in(tmp_path)
    cache.write(KIND, b"content")
    path = content_of(tmp_path)
    path.write_bytes(damaged(path.read_bytes(), how))
    assert cache.read(KIND) is None
    cache.write(KIND, b"again")
    assert cache.read(KIND) == b"again"


def test_no_folder_keeps_nothing() -> None:
    cache = FileCache(None)
    cache.write(KIND, b"content")
    assert cache.read(KIND) is None


def test_a_folder_that_cannot_be_written_to(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    cache = FileCache(
        CacheFolder(str(tmp_path / "file" / "cache"), disk_bytes=10**9)
    )
    cache.write(KIND, b"content")
    assert cache.read(KIND) is None


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    cache.write(KIND, b"first")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.write(KIND, b"second")
    assert cache.read(KIND) == b"first"
    assert files_in(tmp_path) == EXPECTED


def test_what_is_too_large_is_not_kept(tmp_path: pathlib.Path) -> None:
    cache = FileCache(CacheFolder(str(tmp_path), disk_bytes=100))
    cache.write(KIND, b"x" * 101)
    assert cache.read(KIND) is None
    # One goes for the other.
    cache.write({"kind": "one"}, b"x" * 60)
    os.utime(next(tmp_path.rglob("whole")), (9, 9))
    cache.write({"kind": "two"}, b"x" * 60)
    assert cache.read({"kind": "one"}) is None
    assert cache.read({"kind": "two"}) == b"x" * 60


def test_a_cache_that_is_only_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    cache.write(KIND, b"content")

    def refuse(*args: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.read(KIND) == b"content"


def test_rows_that_need_the_room_take_it(tmp_path: pathlib.Path) -> None:
    """The file least recently used goes first; one just read stays."""
    cache = cache_in(tmp_path)
    old, used = {"kind": "old"}, {"kind": "used"}
    for kind in (used, old):
        cache.write(kind, b"x" * 1000)
    for place in tmp_path.rglob("whole"):
        os.utime(place, (9, 9))
    assert cache.read(used) is not None
    rows_cache = RowCache(
        mode="disk",
        disk=CacheFolder(str(tmp_path), disk_bytes=2100),
        ram_bytes=0,
    )

    def compute(rows: Any) -> Any:
        yield [np.zeros((1, 1000), np.uint8)]

    rows_cache.rows(
        ["digest"],
        key_fields={"kind": "rows"},
        specs=[RowSpec(shape=(1000,), dtype="uint8")],
        compute=compute,
        warn=print,
    )
    assert cache.read(used) == b"x" * 1000
    assert cache.read(old) is None
