"""Limits on disk: the cache's own limit, full disks and quotas."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from typing import Any

import pytest

from tests.cache.asker import (
    ROW,
    Asker,
    assert_rows,
    leftovers,
    segments,
)


def _age(folder: pathlib.Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_disk_drops_the_least_recently_used_segment(
    tmp_path: pathlib.Path,
) -> None:
    for number, name in enumerate("pqr"):
        Asker(tmp_path).check("ab", computed="ab", key_fields={"kind": name})
        newest = max(segments(tmp_path), key=lambda p: p.stat().st_mtime_ns)
        _age(newest, 300 - 100 * number)
        size = sum(file.stat().st_size for file in newest.iterdir())
    # Reading counts as use, so q is now the least recently used.
    Asker(tmp_path).check("ab", computed="", key_fields={"kind": "p"})
    Asker(tmp_path, disk_bytes=2 * size + 2 * ROW).check(
        "ab", computed="ab", key_fields={"kind": "new"}
    )
    for name, computed in (("p", ""), ("r", ""), ("new", ""), ("q", "ab")):
        Asker(tmp_path).check(
            "ab", computed=computed, key_fields={"kind": name}
        )


def test_segments_in_use_here_stay_on_disk(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("ab", computed="ab", key_fields={"kind": "theirs"})
    (theirs,) = segments(tmp_path)
    # Room for the new segment only.
    asker = Asker(tmp_path, disk_bytes=3 * ROW)
    asker.check("ab", computed="ab", key_fields={"kind": "mine"})
    assert not theirs.exists()
    (mine,) = segments(tmp_path)
    _age(mine, 1000)
    asker.check("abc", computed="abc", key_fields={"kind": "next"})
    assert mine.exists()


@pytest.mark.parametrize(("mode", "cached"), [("auto", True), ("disk", False)])
def test_an_impossible_folder_is_reported_once(
    tmp_path: pathlib.Path, mode: str, cached: bool
) -> None:
    (tmp_path / "file").write_text("")
    asker = Asker(tmp_path / "file" / "cache", mode)
    for digests in ("ab", "cd"):
        assert (asker.rows(digests) is not None) == cached
    (warning,) = asker.warnings
    assert warning == (
        f"--cache_dir='{tmp_path}/file/cache': cannot be written to (Not a"
        " directory); nothing is cached on disk"
    )


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "posix_fallocate"), (os, "rename"), (tempfile, "mkdtemp")],
)
@pytest.mark.parametrize(("mode", "cached"), [("auto", True), ("disk", False)])
def test_a_full_disk_is_reported_once(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    cached: bool,
    owner: Any,
    name: str,
) -> None:
    asker = Asker(tmp_path, mode)
    monkeypatch.setattr(owner, name, _full)
    for digests in ("abc", "de"):
        found = asker.rows(digests)
        assert (found is not None) == cached
        if found is not None:
            assert_rows(found, digests)
    monkeypatch.undo()
    (warning,) = asker.warnings
    assert warning == (
        f"--cache_dir='{tmp_path}': cannot be written to (No space left on"
        " device); nothing is cached on disk"
    )
    assert not segments(tmp_path)
    assert not leftovers(tmp_path)


def test_a_quota_is_reported_and_not_fatal(
    tmp_path: pathlib.Path,
) -> None:
    """A memory-mapped file would end the process with a signal."""
    program = f"""
        import resource, signal
        from tests.cache.asker import Asker, assert_rows
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
    assert not segments(tmp_path)
    assert not leftovers(tmp_path)


def test_half_of_the_free_space_stays_free(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = usage._replace(free=4 * ROW)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    asker = Asker(tmp_path, "disk")
    assert asker.rows("ab") is None
    asker.check("a", computed="a")
