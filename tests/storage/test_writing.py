"""Writing files: complete or unchanged, and through links and pipes."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.storage.places import PLACES
from trainer.storage import files, remote, writing

_NEW = "новое, twice as long"


def _break_local(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    real_open, real_replace = open, os.replace

    def half(path: str, mode: str, **kwargs: Any) -> Any:
        stream = real_open(path, mode, **kwargs)

        class Breaking:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                stream.close()

            def write(self, text: str) -> None:
                stream.write(text[: len(text) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", path)

        return Breaking()

    def replaced(source: str, target: str) -> None:
        if where == "renamed":
            real_replace(source, target)
        raise OSError(errno.EIO, "Input/output error", target)

    if where == "write":
        monkeypatch.setattr(writing, "open", half, raising=False)
    else:
        monkeypatch.setattr(os, "replace", replaced)


class _HalfFile:
    """A GFile that writes the first half of its data, and then fails."""

    def __init__(self, path: str, mode: str) -> None:
        self._file = _GFILE(path, mode)

    def __enter__(self) -> _HalfFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, length: int) -> Any:
        return self._file.read(length)

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        raise tf.errors.UnavailableError(None, None, "the network is gone")


_GFILE = tf.io.gfile.GFile


def _break_ram(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    real = tf.io.gfile.rename

    def rename(source: str, target: str, overwrite: bool) -> None:
        if where == "renamed":
            real(source, target, overwrite=overwrite)
        raise tf.errors.UnavailableError(None, None, "the network is gone")

    if where == "write":
        monkeypatch.setattr(tf.io.gfile, "GFile", _HalfFile)
    else:
        monkeypatch.setattr(tf.io.gfile, "rename", rename)


def _stream(path: str, text: str) -> None:
    with files.output_stream(path) as stream:
        stream.write(text[:5])
        stream.write(text[5:])


def _append(path: str, text: str) -> None:
    files.append_text(path, text)


# A failed local append may leave a part of a line, which its reader cuts off.
@pytest.mark.parametrize(
    ("place", "write"),
    [
        (place, write)
        for place in PLACES
        for write in (files.write_text, _stream, _append)
        if (place, write) != ("local", _append)
    ],
    indirect=["place"],
)
@pytest.mark.parametrize("before", ["old", None])
@pytest.mark.parametrize("where", ["write", "rename", "renamed"])
def test_a_failed_write_leaves_the_old_file_or_the_new(
    place, monkeypatch, where, before, write: Callable[[str, str], None]
):
    name, root = place
    path = f"{root}/result.json"
    if before is not None:
        files.write_text(path, before)
    added = (before or "") if write is _append else ""
    with monkeypatch.context() as patch:
        if name == "bucket":
            remote._gfile(path).break_at = where
        else:
            (_break_local if name == "local" else _break_ram)(patch, where)
        with pytest.raises(OSError, match=r".") as error:
            write(path, _NEW)
        assert error.value.strerror
    found = files.read_text(path) if files.is_file(path) else None
    assert found in (before, added + _NEW)
    if where != "renamed":
        assert found == before
    # Temporary files of the failed write do not disturb a retry.
    if before is None and files.is_file(path):
        files.remove(path)
    elif before:
        files.write_text(path, before)
    write(path, _NEW)
    assert files.read_text(path) == added + _NEW
    assert not [n for n in files.names(root) if n.endswith(".partial")]


def _write_and_fail(path: str) -> None:
    with files.output_stream(path) as stream:
        stream.write("half")
        raise ZeroDivisionError


def test_an_error_in_the_block_leaves_the_file_unchanged(place):
    _, root = place
    for path in (f"{root}/one.txt", f"{root}/new.csv"):
        with pytest.raises(ZeroDivisionError):
            _write_and_fail(path)
    assert files.read_text(f"{root}/one.txt") == "one.txt"
    assert not files.is_file(f"{root}/new.csv")


@pytest.mark.parametrize("write", [files.write_text, _stream])
def test_a_file_is_synced_before_it_is_renamed(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[str, str], None],
) -> None:
    """Otherwise a power failure could leave the name with no content."""
    path = tmp_path / "state.json"
    path.write_text("old")
    calls: list[tuple[str, int, int]] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(fd: int) -> None:
        real_sync(fd)
        calls.append(("fsync", os.fstat(fd).st_ino, os.fstat(fd).st_size))

    def replace(source: str, target: str) -> None:
        found = os.stat(source)
        calls.append(("replace", found.st_ino, found.st_size))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write(str(path), "newest")
    inode = path.stat().st_ino
    assert calls == [("fsync", inode, 6), ("replace", inode, 6)]


def test_output_replaces_the_file_behind_a_link(tmp_path: pathlib.Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("target.csv")
    with files.output_stream(str(link)) as stream:
        stream.write("new")
        # The old content is read until the block ends.
        assert target.read_text() == "old"
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "link.csv",
        "target.csv",
    ]


def test_output_creates_the_target_of_a_broken_link(
    tmp_path: pathlib.Path,
) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to("later.csv")
    with files.output_stream(str(link)) as stream:
        stream.write("new")
    assert link.is_symlink()
    assert (tmp_path / "later.csv").read_text() == "new"


@pytest.mark.parametrize("by_link", [False, True])
def test_output_is_written_to_a_pipe(
    tmp_path: pathlib.Path, by_link: bool
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = pipe
    if by_link:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with files.output_stream(str(path)) as stream:
        stream.write("row")
    reader.join(10)
    assert read == ["row"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_new_files_respect_the_umask(
    tmp_path: pathlib.Path,
) -> None:
    before = os.umask(0o027)
    try:
        files.write_text(str(tmp_path / "a"), "a")
        files.append_text(str(tmp_path / "b"), "b")
        with files.output_stream(str(tmp_path / "c")) as stream:
            stream.write("c")
    finally:
        os.umask(before)
    modes = [p.stat().st_mode & 0o777 for p in tmp_path.iterdir()]
    assert modes == [0o640] * 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".0123456789abcdef.partial", True),
        (".probe-0123456789abcdef.partial", True),
        ("config.json.0123456789ab.partial", True),
        (".0123456789abcdef.partial.jpg", False),
        ("photo.partial", False),
        ("config.json.partial", False),
        (".0123456789abcdef", False),
        ("config.json", False),
    ],
)
def test_is_partial(name: str, expected: bool) -> None:
    assert files.is_partial(name) is expected
