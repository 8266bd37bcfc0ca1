"""Several processes use one cache, and some of them are killed."""

from __future__ import annotations

import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cache.asker import (
    Asker,
    assert_rows,
    expected,
    leftovers,
    segments,
)
from trainer.cache import entries


def test_an_unfinished_segment_is_not_read(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("ab", computed="ab")
    (segment,) = segments(tmp_path)
    aside = segment.with_name(".new-00000000")
    segment.rename(aside)
    asker = Asker(tmp_path)
    asker.check("ab", computed="ab")
    assert asker.warnings == []
    # Another process may still be writing it.
    assert aside.exists()


def test_unfinished_segments_are_removed_after_a_day(
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


def test_two_caches_compute_the_same_rows_at_once(
    tmp_path: pathlib.Path,
) -> None:
    both = threading.Barrier(2, timeout=60)
    askers = [Asker(tmp_path), Asker(tmp_path)]

    def ask(asker: Asker, digests: str) -> None:
        def compute(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
            # Both have looked for rows before either writes any.
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
    assert len(segments(tmp_path)) == 2
    assert not leftovers(tmp_path)
    again = Asker(tmp_path)
    again.check("abcd", computed="")
    assert [*askers[0].warnings, *askers[1].warnings, *again.warnings] == []


def test_removed_files_can_still_be_read(
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


def test_a_segment_removed_meanwhile_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes an entry while this one lists it."""
    Asker(tmp_path).check("ab", computed="ab")
    real = entries._inspect

    def look(path: str) -> Any:
        shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(entries, "_inspect", look)
    asker = Asker(tmp_path)
    asker.check("x", computed="x", key_fields={"kind": "other"})
    assert asker.warnings == []
    assert len(segments(tmp_path)) == 1
