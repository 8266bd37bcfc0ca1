"""Cached files: found again or missing, never damaged."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

from trainer.cache import CacheFolder, FileCache, RowCache, RowSpec

KEY_FIELDS = {"kind": "thing", "size": 3}


def cache_in(folder: pathlib.Path) -> FileCache:
    return FileCache(CacheFolder(str(folder), disk_bytes=10**9))


# No temporary file is left.
EXPECTED = sorted([".transfer-trainer-entry", "CACHEDIR.TAG", "content"])


def files_in(folder: pathlib.Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def content_of(folder: pathlib.Path) -> pathlib.Path:
    (found,) = folder.rglob("content")
    return found


def test_a_written_file_is_read(tmp_path: pathlib.Path) -> None:
    cache = cache_in(tmp_path / "cache")
    assert cache.read(KEY_FIELDS) is None
    for content in (b"one", b"", b"another"):
        cache.write(KEY_FIELDS, content)
        assert cache.read(KEY_FIELDS) == content
        assert (
            FileCache(
                CacheFolder(str(tmp_path / "cache"), disk_bytes=10**9)
            ).read(KEY_FIELDS)
            == content
        )
    assert cache.read({**KEY_FIELDS, "size": 4}) is None
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
def test_a_damaged_file_counts_as_missing(
    tmp_path: pathlib.Path, how: str
) -> None:
    cache = cache_in(tmp_path)
    cache.write(KEY_FIELDS, b"content")
    path = content_of(tmp_path)
    path.write_bytes(damaged(path.read_bytes(), how))
    assert cache.read(KEY_FIELDS) is None
    cache.write(KEY_FIELDS, b"again")
    assert cache.read(KEY_FIELDS) == b"again"


def test_without_a_folder_nothing_is_cached() -> None:
    cache = FileCache(None)
    cache.write(KEY_FIELDS, b"content")
    assert cache.read(KEY_FIELDS) is None


def test_a_folder_that_cannot_be_created_is_no_error(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "file").write_text("")
    cache = FileCache(
        CacheFolder(str(tmp_path / "file" / "cache"), disk_bytes=10**9)
    )
    cache.write(KEY_FIELDS, b"content")
    assert cache.read(KEY_FIELDS) is None


def test_a_failed_write_leaves_the_former_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    cache.write(KEY_FIELDS, b"first")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.write(KEY_FIELDS, b"second")
    assert cache.read(KEY_FIELDS) == b"first"
    assert files_in(tmp_path) == EXPECTED


def test_a_file_too_large_is_not_cached(tmp_path: pathlib.Path) -> None:
    cache = FileCache(CacheFolder(str(tmp_path), disk_bytes=100))
    cache.write(KEY_FIELDS, b"x" * 101)
    assert cache.read(KEY_FIELDS) is None
    # The second replaces the first.
    cache.write({"kind": "one"}, b"x" * 60)
    os.utime(next(tmp_path.rglob("whole")), (9, 9))
    cache.write({"kind": "two"}, b"x" * 60)
    assert cache.read({"kind": "one"}) is None
    assert cache.read({"kind": "two"}) == b"x" * 60


def test_a_read_only_cache_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    cache.write(KEY_FIELDS, b"content")

    def refuse(*args: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.read(KEY_FIELDS) == b"content"


def test_rows_replace_the_least_recently_used_file(
    tmp_path: pathlib.Path,
) -> None:
    cache = cache_in(tmp_path)
    old, used = {"kind": "old"}, {"kind": "used"}
    for key_fields in (used, old):
        cache.write(key_fields, b"x" * 1000)
    for entry in tmp_path.rglob("whole"):
        os.utime(entry, (9, 9))
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
