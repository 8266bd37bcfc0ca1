"""Cached rows: computed once, found by key and digest, bounded in memory."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cache.asker import (
    MIB,
    ROW,
    Asker,
    assert_rows,
    expected,
    leftovers,
    segments,
)
from trainer.cache import RowSpec
from trainer.cache.segments import StoredArray


@pytest.mark.parametrize("mode", ["auto", "disk", "ram"])
def test_a_row_is_computed_once(tmp_path: pathlib.Path, mode: str) -> None:
    asker = Asker(tmp_path, mode)
    asker.check("abcde", computed="abcde")
    asker.check("abcde", computed="")
    # A part of them in another order; then some of them and new ones.
    asker.check("dab", computed="")
    asker.check("xbyd", computed="xy")
    asker.check("yaxe", computed="")
    assert asker.warnings == []
    assert len(segments(tmp_path)) == (0 if mode == "ram" else 2)


def test_equal_digests_share_one_row(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abab", computed="ab")


def test_rows_are_read_in_any_order_with_padding(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    # One read from two segments.
    found = asker.rows("abcd")
    assert found is not None
    big, small = found.read(np.array([3, -1, 0, 0, 2, -1]))
    order = ["d", None, "a", "a", "c", None]
    for number, digest in enumerate(order):
        row = expected(digest) if digest else [0.0, 0]
        np.testing.assert_array_equal(
            big[number], np.broadcast_to(row[0], (2, 3))
        )
        np.testing.assert_array_equal(small[number], np.broadcast_to(row[1], 2))
    (nothing, _) = found.read(np.array([-1, -1]))
    assert not nothing.any()


@pytest.mark.parametrize("block", [1, 3, 5, 100])
def test_blocks_may_have_any_size(tmp_path: pathlib.Path, block: int) -> None:
    Asker(tmp_path).check("abcde", computed="abcde", block=block)


def test_another_cache_reads_rows_from_disk(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    other = Asker(tmp_path)
    other.check("cbad", computed="d")
    Asker(tmp_path).check("abcd", computed="")
    assert other.warnings == []


def test_rows_in_memory_are_not_shared(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "never"
    Asker(folder, "ram").check("abc", computed="abc")
    Asker(folder, "ram").check("abc", computed="abc")
    assert not folder.exists()


@pytest.mark.parametrize(
    "key_fields", [{"kind": "other"}, {"kind": "test", "px": 3}, {}], ids=str
)
def test_other_key_fields_share_no_rows(
    tmp_path: pathlib.Path, key_fields: dict[str, Any]
) -> None:
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    asker.check("ab", computed="ab", key_fields=key_fields)
    Asker(tmp_path).check("ab", computed="", key_fields=key_fields)


def test_the_order_of_key_fields_does_not_matter(
    tmp_path: pathlib.Path,
) -> None:
    Asker(tmp_path).check("a", computed="a", key_fields={"p": 1, "q": 2})
    Asker(tmp_path).check("a", computed="", key_fields={"q": 2, "p": 1})


@pytest.mark.parametrize(
    ("mode", "ram_bytes"),
    [("ram", MIB), ("auto", MIB), ("auto", 0), ("disk", MIB), ("disk", 0)],
)
@pytest.mark.parametrize(
    "other",
    [
        RowSpec(shape=(6, 6, 3), dtype="uint8"),
        RowSpec(shape=(4, 2, 6), dtype="uint8"),
        RowSpec(shape=(4, 4, 3), dtype="int8"),
    ],
    ids=["image size", "as many bytes", "type"],
)
def test_rows_of_another_format_are_never_returned(
    tmp_path: pathlib.Path, mode: str, ram_bytes: int, other: RowSpec
) -> None:
    """The key alone would not tell the two formats apart."""
    asker = Asker(tmp_path, mode, ram_bytes=ram_bytes)
    image = RowSpec(shape=(4, 4, 3), dtype="uint8")
    for client in (asker, Asker(tmp_path, mode, ram_bytes=ram_bytes)):
        for spec, value in ((image, 1), (other, 2), (image, 1)):
            rows = np.full((2, *spec.shape), value, spec.dtype)
            found = client.rows(
                "ab", specs=[spec], compute=lambda _, rows=rows: iter([[rows]])
            )
            assert found is not None
            (array,) = found.read(np.arange(2))
            assert array.dtype == spec.dtype
            np.testing.assert_array_equal(array, rows)


@pytest.mark.parametrize("mode", ["off", "ram", "disk", "auto"])
@pytest.mark.parametrize(
    ("ram", "disk"), [(ROW, ROW), (0, ROW), (ROW, 0), (0, 0)]
)
def test_rows_are_cached_only_where_there_is_room(
    tmp_path: pathlib.Path, mode: str, ram: int, disk: int
) -> None:
    asker = Asker(tmp_path, mode, ram_bytes=ram, disk_bytes=disk)
    cached = {
        "off": False,
        "ram": ram > 0,
        "disk": disk > 0,
        "auto": ram > 0 or disk > 0,
    }[mode]
    found = asker.rows("a")
    assert (found is not None) == cached
    # Rows that cannot be cached are not computed.
    assert asker.computed == (["a"] if cached else [])
    on_disk = mode in ("disk", "auto") and disk > 0
    assert len(segments(tmp_path)) == on_disk
    if found is not None:
        assert_rows(found, "a")
    assert asker.warnings == []


def test_rows_stay_in_files_if_memory_is_full(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, ram_bytes=2 * ROW)
    small, large = (
        asker.rows("ab"),
        asker.rows("xyz", key_fields={"kind": "large"}),
    )
    assert small is not None
    assert large is not None
    assert isinstance(small._segments[0].arrays[0], np.ndarray)
    assert isinstance(large._segments[0].arrays[0], StoredArray)


def test_memory_drops_the_least_recently_used_key(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, "ram", ram_bytes=3 * ROW)
    asker.check("ab", computed="ab", key_fields={"kind": "first"})
    asker.check("a", computed="a", key_fields={"kind": "second"})
    # No room for two more: the least recently used key is dropped.
    asker.check("ab", computed="ab", key_fields={"kind": "third"})
    asker.check("a", computed="", key_fields={"kind": "second"})
    asker.check("ab", computed="ab", key_fields={"kind": "first"})


def test_rows_that_never_fit_evict_nothing(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, "ram", ram_bytes=3 * ROW)
    asker.check("ab", computed="ab")
    assert asker.rows("abcd", key_fields={"kind": "large"}) is None
    asker.check("ab", computed="")


def test_too_few_rows_are_an_error(tmp_path: pathlib.Path) -> None:
    def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
        yield [np.stack([a]) for a in expected("a")]

    with pytest.raises(ValueError, match="1 rows of 2 were computed"):
        Asker(tmp_path).rows("ab", compute=compute)
    assert not segments(tmp_path)
    assert not leftovers(tmp_path)


class _Stopped(BaseException):
    pass


@pytest.mark.parametrize("mode", ["auto", "ram"])
def test_an_interrupted_computation_leaves_nothing(
    tmp_path: pathlib.Path, mode: str
) -> None:
    def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
        yield [np.stack([a]) for a in expected("a")]
        raise _Stopped

    asker = Asker(tmp_path, mode)
    with pytest.raises(_Stopped):
        asker.rows("ab", compute=compute)
    assert not segments(tmp_path)
    assert not leftovers(tmp_path)
    asker.check("ab", computed="ab")
    assert asker.warnings == []
