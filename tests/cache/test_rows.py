"""Rows that are computed once: what is kept, where, and for how long."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from trainer.cache import CachedRows, CacheFolder, RowCache, RowSpec
from trainer.cache import entries
from trainer.cache.disk import NAME
from trainer.cache.entries import MARKER
from trainer.cache.segments import StoredArray

# A row takes 4 * 6 + 2 = 26 bytes.
SPECS = (
    RowSpec(shape=(2, 3), dtype="float32"),
    RowSpec(shape=(2,), dtype="uint8"),
)
ROW = 26
KIND = {"kind": "test"}
MIB = 2**20


def expected(digest: str) -> list[np.ndarray]:
    """The row of a digest, which is a letter."""
    number = ord(digest)
    return [
        np.arange(6, dtype=np.float32).reshape(2, 3) + number / 7,
        np.array([number, 255 - number], np.uint8),
    ]


class Asker:
    """Asks a cache for rows, and notes what it had to compute and to hear."""

    def __init__(
        self, folder: pathlib.Path, mode: str = "auto", **bounds: Any
    ) -> None:
        disk_bytes = bounds.pop("disk_bytes", MIB)
        self.cache = RowCache(
            mode=mode,
            disk=CacheFolder(str(folder), disk_bytes=disk_bytes),
            **{"ram_bytes": MIB, **bounds},
        )
        self.computed: list[str] = []
        self.warnings: list[str] = []

    def rows(
        self,
        digests: Sequence[str],
        kind: dict[str, Any] = KIND,
        specs: Sequence[RowSpec] = SPECS,
        compute: Any = None,
        block: int = 2,
    ) -> CachedRows | None:
        def blocks(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
            asked = [digests[number] for number in numbers]
            self.computed += asked
            for start in range(0, len(asked), block):
                rows = [expected(d) for d in asked[start : start + block]]
                yield [np.stack(arrays) for arrays in zip(*rows, strict=True)]

        return self.cache.rows(
            digests,
            key_fields=kind,
            specs=specs,
            compute=compute or blocks,
            warn=self.warnings.append,
        )

    def check(self, digests: Sequence[str], computed: str, **ask: Any) -> None:
        """The rows are right, and exactly these had to be computed."""
        self.computed.clear()
        found = self.rows(digests, **ask)
        assert found is not None
        assert "".join(self.computed) == computed
        assert_rows(found, digests)


def assert_rows(found: CachedRows, digests: Sequence[str]) -> None:
    arrays = found.read(np.arange(len(digests)))
    for spec, array in zip(SPECS, arrays, strict=True):
        assert array.dtype == spec.dtype
        assert array.shape == (len(digests), *spec.shape)
    for number, digest in enumerate(digests):
        for array, row in zip(arrays, expected(digest), strict=True):
            np.testing.assert_array_equal(array[number], row)


def segments(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob(f"{NAME}/*/rows-*"))


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    return [
        path for path in folder.glob(f"{NAME}/*/*") if path.name.startswith(".")
    ]


@pytest.mark.parametrize("mode", ["auto", "disk", "ram"])
def test_a_row_is_computed_once(tmp_path: pathlib.Path, mode: str) -> None:
    asker = Asker(tmp_path, mode)
    asker.check("abcde", computed="abcde")
    asker.check("abcde", computed="")
    # Part of them, in another order; some of them, and others.
    asker.check("dab", computed="")
    asker.check("xbyd", computed="xy")
    asker.check("yaxe", computed="")
    assert asker.warnings == []
    assert len(segments(tmp_path)) == (0 if mode == "ram" else 2)


def test_equal_digests_are_one_row(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abab", computed="ab")


def test_reading_in_any_order_with_padding(tmp_path: pathlib.Path) -> None:
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    # Two segments in one reading.
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


def test_another_process_reads_what_is_on_disk(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    other = Asker(tmp_path)
    other.check("cbad", computed="d")
    Asker(tmp_path).check("abcd", computed="")
    assert other.warnings == []


def test_memory_alone_is_not_shared(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "never"
    Asker(folder, "ram").check("abc", computed="abc")
    Asker(folder, "ram").check("abc", computed="abc")
    assert not folder.exists()


@pytest.mark.parametrize(
    "kind", [{"kind": "other"}, {"kind": "test", "px": 3}, {}], ids=str
)
def test_kinds_do_not_share(
    tmp_path: pathlib.Path, kind: dict[str, Any]
) -> None:
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    asker.check("ab", computed="ab", kind=kind)
    Asker(tmp_path).check("ab", computed="", kind=kind)


def test_of_a_kind_the_order_of_its_parts_is_nothing(
    tmp_path: pathlib.Path,
) -> None:
    Asker(tmp_path).check("a", computed="a", kind={"p": 1, "q": 2})
    Asker(tmp_path).check("a", computed="", kind={"q": 2, "p": 1})


@pytest.mark.parametrize("mode", ["off", "ram", "disk", "auto"])
@pytest.mark.parametrize(
    ("ram", "disk"), [(ROW, ROW), (0, ROW), (ROW, 0), (0, 0)]
)
def test_where_rows_go(
    tmp_path: pathlib.Path, mode: str, ram: int, disk: int
) -> None:
    """One row, for which there is room or not."""
    asker = Asker(tmp_path, mode, ram_bytes=ram, disk_bytes=disk)
    kept_rows = {
        "off": False,
        "ram": ram > 0,
        "disk": disk > 0,
        "auto": ram > 0 or disk > 0,
    }[mode]
    found = asker.rows("a")
    assert (found is not None) == kept_rows
    # What is not to be kept is not computed in vain.
    assert asker.computed == (["a"] if kept_rows else [])
    on_disk = mode in ("disk", "auto") and disk > 0
    assert len(segments(tmp_path)) == on_disk
    if found is not None:
        assert_rows(found, "a")
    assert asker.warnings == []


def test_rows_stay_in_files_where_memory_has_no_room(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, ram_bytes=2 * ROW)
    small, large = asker.rows("ab"), asker.rows("xyz", kind={"kind": "large"})
    assert small is not None and large is not None
    assert isinstance(small._segments[0].arrays[0], np.ndarray)
    assert isinstance(large._segments[0].arrays[0], StoredArray)


def test_memory_goes_to_the_kind_in_use(tmp_path: pathlib.Path) -> None:
    asker = Asker(tmp_path, "ram", ram_bytes=3 * ROW)
    asker.check("ab", computed="ab", kind={"kind": "first"})
    asker.check("a", computed="a", kind={"kind": "second"})
    # No room for three more: the kind that was used longest ago goes.
    asker.check("ab", computed="ab", kind={"kind": "third"})
    asker.check("a", computed="", kind={"kind": "second"})
    asker.check("ab", computed="ab", kind={"kind": "first"})


def test_what_fits_nowhere_costs_others_nothing(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, "ram", ram_bytes=3 * ROW)
    asker.check("ab", computed="ab")
    assert asker.rows("abcd", kind={"kind": "large"}) is None
    asker.check("ab", computed="")


def test_too_few_rows_are_an_error(tmp_path: pathlib.Path) -> None:
    def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
        yield [np.stack([a]) for a in expected("a")]

    with pytest.raises(ValueError, match="1 rows of 2 were computed"):
        Asker(tmp_path).rows("ab", compute=compute)
    assert not segments(tmp_path) and not leftovers(tmp_path)


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
    """Replaces a file by a link to one with the same content."""
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def _note(change: Callable[[Any], Any]) -> Callable[[pathlib.Path], None]:
    def spoil(segment: pathlib.Path) -> None:
        path = segment / "segment.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoil


BROKEN: dict[str, Callable[[pathlib.Path], None]] = {
    "empty_array": _shorten("0.rows", 0),
    "no_header": _shorten("0.rows", 50),
    "truncated": _shorten("0.rows", 71),
    "one_byte_short": _shorten("1.rows", -1),
    "flipped_first": _flip("0.rows", 0),
    "flipped_last": _flip("1.rows", -1),
    "no_array": _drop("1.rows"),
    "no_note": _drop("segment.json"),
    "empty_note": _shorten("segment.json", 0),
    "half_a_note": _shorten("segment.json", 20),
    "no_text": _flip("segment.json", 0),
    "note_is_a_list": _note(lambda note: []),
    "note_is_empty": _note(lambda note: {}),
    "digest_lost": _note(lambda note: {**note, "digests": ["a", "b"]}),
    "no_digests": _note(lambda note: {**note, "digests": None}),
    "checksum_lost": _note(
        lambda note: {**note, "checksums": note["checksums"][:1]}
    ),
    "checksum_wrong": _note(lambda note: {**note, "checksums": [1, 2]}),
    "other_shape": _note(
        lambda note: {**note, "arrays": [[[3, 2], "float32"], [[2], "uint8"]]}
    ),
    "other_type": _note(
        lambda note: {**note, "arrays": [[[2, 3], "int32"], [[2], "uint8"]]}
    ),
    "longer": lambda segment: _append(segment / "0.rows"),
    "a_link": lambda segment: _link(segment / "0.rows"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_files_are_named_and_made_again(
    tmp_path: pathlib.Path, broken: str
) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    (segment,) = segments(tmp_path)
    BROKEN[broken](segment)
    asker = Asker(tmp_path)
    asker.check("abc", computed="abc")
    (warning,) = asker.warnings
    assert warning.startswith(f"{segment}: cached rows are broken (")
    assert warning.endswith("; they are removed and computed again")
    assert "\n" not in warning
    # A link is not the cache's own; only the rest of the entry goes.
    assert not segment.exists() or broken == "a_link"
    again = Asker(tmp_path)
    again.check("abc", computed="")
    assert again.warnings == []


def test_no_flipped_byte_is_read(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("abc", computed="abc")
    (segment,) = segments(tmp_path)
    content = (segment / "0.rows").read_bytes()
    note = (segment / "segment.json").read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        segment.mkdir(exist_ok=True)
        (segment / "0.rows").write_bytes(flipped)
        (segment / "1.rows").write_bytes(
            np.stack([expected(d)[1] for d in "abc"]).tobytes()
        )
        (segment / "segment.json").write_bytes(note)
        (segment / MARKER).touch()
        found = Asker(tmp_path).rows("abc")
        assert found is not None
        assert_rows(found, "abc")
        for other in segments(tmp_path):
            shutil.rmtree(other)


def test_one_broken_segment_leaves_the_others(tmp_path: pathlib.Path) -> None:
    first = Asker(tmp_path)
    first.check("ab", computed="ab")
    (good,) = segments(tmp_path)
    first.check("abcd", computed="cd")
    (bad,) = set(segments(tmp_path)) - {good}
    BROKEN["flipped_last"](bad)
    asker = Asker(tmp_path)
    asker.check("abcd", computed="cd")
    assert len(asker.warnings) == 1


def test_what_is_half_written_is_not_read(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("ab", computed="ab")
    (segment,) = segments(tmp_path)
    aside = segment.with_name(".new-00000000")
    segment.rename(aside)
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    assert asker.warnings == []
    # It may be another process's, which is still at it.
    assert aside.exists()


def test_what_killed_processes_left_goes_after_a_day(
    tmp_path: pathlib.Path,
) -> None:
    Asker(tmp_path).check("ab", computed="ab")
    (segment,) = segments(tmp_path)
    day = 24 * 3600
    for name, age in (("old00000", day + 60), ("young000", day - 60)):
        aside = segment.with_name(f".new-{name}")
        shutil.copytree(segment, aside)
        then = time.time() - age
        for path in (*aside.iterdir(), aside):
            os.utime(path, (then, then))
    Asker(tmp_path).check("abc", computed="c")
    assert [path.name for path in leftovers(tmp_path)] == [".new-young000"]


def test_two_caches_at_once(tmp_path: pathlib.Path) -> None:
    """Both are right, and what they leave is whole."""
    both = threading.Barrier(2, timeout=60)
    askers = [Asker(tmp_path), Asker(tmp_path)]

    def ask(asker: Asker, digests: str) -> None:
        def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
            # Each has seen that the other's rows are missing.
            both.wait()
            for number in numbers:
                yield [a[None] for a in expected(digests[number])]
            both.wait()

        found = asker.rows(digests, compute=compute)
        assert found is not None
        assert_rows(found, digests)
        done.append(digests)

    done: list[str] = []
    threads = [
        threading.Thread(target=ask, args=pair)
        for pair in zip(askers, ("abc", "bcd"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["abc", "bcd"]
    assert len(segments(tmp_path)) == 2 and not leftovers(tmp_path)
    again = Asker(tmp_path)
    again.check("abcd", computed="")
    assert [*askers[0].warnings, *askers[1].warnings, *again.warnings] == []


def _age(folder: pathlib.Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_the_least_recently_used_goes_from_disk(
    tmp_path: pathlib.Path,
) -> None:
    for number, kind in enumerate("pqr"):
        Asker(tmp_path).check("ab", computed="ab", kind={"kind": kind})
        newest = max(segments(tmp_path), key=lambda p: p.stat().st_mtime_ns)
        _age(newest, 300 - 100 * number)
        size = sum(file.stat().st_size for file in newest.iterdir())
    # Reading is using: now q is the oldest.
    Asker(tmp_path).check("ab", computed="", kind={"kind": "p"})
    Asker(tmp_path, disk_bytes=2 * size + 2 * ROW).check(
        "ab", computed="ab", kind={"kind": "new"}
    )
    for kind, computed in (("p", ""), ("r", ""), ("new", ""), ("q", "ab")):
        Asker(tmp_path).check("ab", computed=computed, kind={"kind": kind})


def test_what_this_process_holds_stays_on_disk(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("ab", computed="ab", kind={"kind": "theirs"})
    (theirs,) = segments(tmp_path)
    # No room for anything besides what is new.
    asker = Asker(tmp_path, disk_bytes=3 * ROW)
    asker.check("ab", computed="ab", kind={"kind": "mine"})
    assert not theirs.exists()
    (mine,) = segments(tmp_path)
    _age(mine, 1000)
    asker.check("abc", computed="abc", kind={"kind": "next"})
    assert mine.exists()


def test_rows_live_on_when_others_remove_their_files(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, ram_bytes=0)
    found = asker.rows("abc")
    assert found is not None
    for segment in segments(tmp_path):
        shutil.rmtree(segment)
    assert_rows(found, "abc")
    asker.check("abcd", computed="d")
    assert asker.warnings == []


def test_a_segment_that_goes_meanwhile_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes room while this one looks for it."""
    Asker(tmp_path).check("ab", computed="ab")
    real = entries._inspect

    def look(path: str) -> Any:
        shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(entries, "_inspect", look)
    asker = Asker(tmp_path)
    asker.check("x", computed="x", kind={"kind": "other"})
    assert asker.warnings == []
    assert len(segments(tmp_path)) == 1


@pytest.mark.parametrize(
    ("mode", "kept_rows"), [("auto", True), ("disk", False)]
)
def test_a_folder_that_cannot_be(
    tmp_path: pathlib.Path, mode: str, kept_rows: bool
) -> None:
    (tmp_path / "file").write_text("")
    asker = Asker(tmp_path / "file" / "cache", mode)
    for digests in ("ab", "cd"):
        assert (asker.rows(digests) is not None) == kept_rows
    (warning,) = asker.warnings
    assert warning == (
        f"--cache_dir='{tmp_path}/file/cache': cannot be written to (Not a"
        " directory); going on without files"
    )


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "posix_fallocate"), (os, "rename"), (tempfile, "mkdtemp")],
)
@pytest.mark.parametrize(
    ("mode", "kept_rows"), [("auto", True), ("disk", False)]
)
def test_a_disk_that_is_full(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    kept_rows: bool,
    owner: Any,
    name: str,
) -> None:
    asker = Asker(tmp_path, mode)
    monkeypatch.setattr(owner, name, _full)
    for digests in ("abc", "de"):
        found = asker.rows(digests)
        assert (found is not None) == kept_rows
        if found is not None:
            assert_rows(found, digests)
    monkeypatch.undo()
    (warning,) = asker.warnings
    assert warning == (
        f"--cache_dir='{tmp_path}': cannot be written to (No space left on"
        " device); going on without files"
    )
    assert not segments(tmp_path) and not leftovers(tmp_path)


def test_a_file_that_may_not_grow_is_an_error_and_no_signal(
    tmp_path: pathlib.Path,
) -> None:
    """The limit of a quota, which would end a process that maps the file."""
    program = f"""
        import resource, signal
        from tests.cache.test_rows import Asker, assert_rows
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        asker = Asker({str(tmp_path)!r})
        assert_rows(asker.rows("abcdefgh"), "abcdefgh")
        (warning,) = asker.warnings
        assert "File too large" in warning, warning
        """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        timeout=120,
    )
    assert not segments(tmp_path) and not leftovers(tmp_path)


def test_no_cache_fills_a_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what is free is for checkpoints."""
    usage = shutil.disk_usage(tmp_path)
    free = usage._replace(free=4 * ROW)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    asker = Asker(tmp_path, "disk")
    assert asker.rows("ab") is None
    asker.check("a", computed="a")


class _Stopped(BaseException):
    pass


@pytest.mark.parametrize("mode", ["auto", "ram"])
def test_what_is_interrupted_leaves_nothing(
    tmp_path: pathlib.Path, mode: str
) -> None:
    def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
        yield [np.stack([a]) for a in expected("a")]
        raise _Stopped

    asker = Asker(tmp_path, mode)
    with pytest.raises(_Stopped):
        asker.rows("ab", compute=compute)
    assert not segments(tmp_path) and not leftovers(tmp_path)
    asker.check("ab", computed="ab")
    assert asker.warnings == []
