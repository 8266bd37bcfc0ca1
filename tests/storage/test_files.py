"""Files by path and by URL: the same answers, and whole files always."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.support.bucket import Bucket
from trainer.config import Config
from trainer.errors import UsageError
from trainer.run.resolve import default_workdir, resolve
from trainer.storage import files, remote, writing

PLACES = ("local", "ram", "bucket")
_NEW = "новое, twice as long"


@pytest.fixture(params=PLACES)
def place(request, tmp_path, monkeypatch) -> tuple[str, str]:
    """The name of a place, and a folder there with something in it."""
    root = {
        "local": str(tmp_path),
        "ram": f"ram://{uuid.uuid4().hex}",
        "bucket": "gs://bucket/a folder",
    }[request.param]
    if request.param == "bucket":
        bucket = Bucket()
        monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    # `ram://` lists no folder that was not made.
    files.make_dirs(f"{root}/пицца/deep")
    for name in ("one.txt", "пицца/two.JPG", "пицца/deep/three.jpg", ".hidden"):
        files.write_text(f"{root}/{name}", name)
    return request.param, root


def test_what_is_there(place):
    _, root = place
    for path, there, is_dir, is_file in (
        (root, True, True, False),
        (f"{root}/one.txt", True, False, True),
        (f"{root}/пицца", True, True, False),
        (f"{root}/nothing", False, False, False),
    ):
        assert files.exists(path) is there
        assert files.is_dir(path) is is_dir
        assert files.is_file(path) is is_file
    found = files.stat(f"{root}/one.txt")
    assert (found.st_size, os.path.stat.S_ISREG(found.st_mode)) == (7, True)
    assert os.path.stat.S_ISDIR(files.stat(root).st_mode)


def test_listings(place):
    _, root = place
    assert files.names(root) == [".hidden", "one.txt", "пицца"]
    assert files.names(f"{root}/nothing") == []
    entries = {e.name: (e.path, e.is_dir()) for e in files.scan(root)}
    assert entries["пицца"] == (f"{root}/пицца", True)
    assert entries["one.txt"] == (f"{root}/one.txt", False)
    with pytest.raises(FileNotFoundError):
        files.scan(f"{root}/nothing")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["one.txt"]),
        ("*", ["one.txt", "пицца"]),
        (".h*", [".hidden"]),
        ("пицца/*.[jJ]*", ["пицца/two.JPG"]),
        ("п*/deep/three.jpg", ["пицца/deep/three.jpg"]),
        ("**/*.jpg", ["пицца/deep/three.jpg"]),
        ("п*/nothing", []),
        ("nothing/*", []),
    ],
)
def test_patterns(place, pattern, found):
    _, root = place
    assert sorted(files.glob(f"{root}/{pattern}")) == [
        f"{root}/{path}" for path in found
    ]


def test_bytes_at_an_offset(place):
    _, root = place
    path = f"{root}/one.txt"
    assert files.read(path) == b"one.txt"
    assert files.read(path, 4) == b"txt"
    assert files.read(path, 4, 2) == b"tx"
    assert files.read(path, length=3) == b"one"
    assert files.read_end(path, 3) == b"txt"
    assert files.read_end(path, 99) == b"one.txt"
    assert b"".join(files.blocks(path)) == b"one.txt"
    with open(files.fetched(path), "rb") as stream:
        assert stream.read() == b"one.txt"
    with pytest.raises(FileNotFoundError) as error:
        files.read(f"{root}/nothing")
    assert error.value.filename == f"{root}/nothing"
    assert error.value.strerror


def test_a_copy_follows_what_was_written_since(place):
    _, root = place
    path = f"{root}/one.txt"
    files.fetched(path)
    files.write_text(path, "ten of them")
    with open(files.fetched(path)) as stream:
        assert stream.read() == "ten of them"


def test_adding_cutting_and_removing(place):
    _, root = place
    path = f"{root}/log"
    files.append_text(path, "первая\n")
    files.append_text(path, "2\n")
    assert files.read_text(path) == "первая\n2\n"
    assert files.synced_size(path) == 6 * 2 + 1 + 2
    files.truncate(path, 13)
    assert files.read_text(path) == "первая\n"
    files.remove(path)
    assert not files.exists(path)
    with pytest.raises(FileNotFoundError):
        files.remove(path)
    files.remove_tree(f"{root}/пицца")
    assert files.names(root) == [".hidden", "one.txt"]


def test_an_empty_folder_is_taken_back_and_no_other(place):
    _, root = place
    files.make_dirs(f"{root}/empty/below")
    files.remove_empty(f"{root}/empty/below")
    assert not files.is_dir(f"{root}/empty/below")
    for folder in (root, f"{root}/пицца"):
        with contextlib.suppress(OSError):
            files.remove_empty(folder)
        assert files.read_text(f"{root}/пицца/two.JPG") == "пицца/two.JPG"


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
    """A GFile of which the second half is never written."""

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


# Locally a line is added in place; whoever reads such a file cuts it off.
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
def test_a_write_that_fails_leaves_the_old_or_the_new(
    place, monkeypatch, where, before, write: Callable[[str, str], None]
):
    kind, root = place
    path = f"{root}/result.json"
    if before is not None:
        files.write_text(path, before)
    added = (before or "") if write is _append else ""
    with monkeypatch.context() as patch:
        if kind == "bucket":
            remote._gfile(path).break_at = where
        else:
            (_break_local if kind == "local" else _break_ram)(patch, where)
        with pytest.raises(OSError, match=".") as error:
            write(path, _NEW)
        assert error.value.strerror
    found = files.read_text(path) if files.is_file(path) else None
    assert found in (before, added + _NEW)
    if where != "renamed":
        assert found == before
    # What was left aside does no harm to who tries again.
    if before is None and files.is_file(path):
        files.remove(path)
    else:
        files.write_text(path, before) if before else None
    write(path, _NEW)
    assert files.read_text(path) == added + _NEW
    assert not [n for n in files.names(root) if n.endswith(".partial")]


@pytest.mark.parametrize(
    "place", [p for p in PLACES if p != "local"], indirect=True
)
def test_two_who_write_one_object_at_a_time(place):
    """Each ends well, and the last to end is read."""
    _, root = place
    path = f"{root}/events.jsonl"
    with remote._replacing(path) as one:
        files.write_text(one, "one")
        files.write_text(path, "two")
        assert files.read_text(path) == "two"
    assert files.read_text(path) == "one"


def test_a_block_that_fails_leaves_the_file_as_it_was(place):
    _, root = place
    for path in (f"{root}/one.txt", f"{root}/new.csv"):
        with pytest.raises(ZeroDivisionError), files.output_stream(path) as out:
            out.write("half")
            raise ZeroDivisionError
    assert files.read_text(f"{root}/one.txt") == "one.txt"
    assert not files.is_file(f"{root}/new.csv")


def test_in_a_bucket_folders_are_told_by_the_listing(monkeypatch):
    bucket = Bucket()
    bucket.objects = {f"gs://b/p/sushi/{i}.jpg": b"" for i in range(50)}
    monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    assert [e.is_dir() for e in files.scan("gs://b/p")] == [True]
    entries = files.scan("gs://b/p/sushi")
    assert [e.is_dir() for e in entries] == [False] * 50
    assert bucket.calls == ["listdir", "listdir"]


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (tf.errors.NotFoundError, FileNotFoundError, errno.ENOENT),
        (tf.errors.PermissionDeniedError, PermissionError, errno.EACCES),
        (tf.errors.UnauthenticatedError, PermissionError, errno.EACCES),
        (tf.errors.AlreadyExistsError, FileExistsError, errno.EEXIST),
        (tf.errors.UnavailableError, OSError, errno.EIO),
    ],
)
def test_errors_are_those_of_the_operating_system(
    monkeypatch, error, kind, number
):
    def fail(path: str) -> None:
        raise error(None, None, "why it is\nand more")

    monkeypatch.setattr(tf.io.gfile, "stat", fail)
    with pytest.raises(kind) as caught:
        files.stat("ram://x")
    assert caught.value.errno == number
    assert caught.value.strerror == "why it is"
    assert caught.value.filename == "ram://x"


def test_a_scheme_that_tensorflow_does_not_know():
    with pytest.raises(UsageError) as error:
        files.is_dir("ftp://host/run")
    text = str(error.value)
    assert text.startswith("ftp://host/run: this TensorFlow has no file system")
    assert "gs://" in text
    assert "\n" not in text


def test_where_no_time_is_kept_nothing_counts_as_unchanged():
    path = f"ram://{uuid.uuid4().hex}/x"
    files.write_text(path, "x")
    assert tf.io.gfile.stat(path).mtime_nsec == 0
    first, second = (files.stat(path).st_mtime_ns for _ in range(2))
    assert 0 < first < second


def test_a_cache_folder_behind_a_url_is_refused():
    with pytest.raises(UsageError, match=r"--cache_dir='gs://b/c': a URL"):
        Config(stage="finetune", dataset="demo", cache_dir="gs://b/c")


@pytest.mark.parametrize("dataset", ["gs://b/photos", "gs://b/photos/"])
def test_the_default_workdir_of_a_url(dataset):
    config = resolve(Config(stage="finetune", dataset=dataset), 224)
    same = resolve(Config(stage="finetune", dataset="gs://b/photos"), 224)
    assert default_workdir(config) == default_workdir(same)
    assert default_workdir(config).startswith("runs/photos-EfficientNetB0-")


def test_output_goes_through_a_link_to_its_file(tmp_path: pathlib.Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("target.csv")
    with files.output_stream(str(link)) as stream:
        stream.write("new")
        # Whole or not there: the old one is read until the end.
        assert target.read_text() == "old"
    assert link.is_symlink() and target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "link.csv",
        "target.csv",
    ]


def test_output_makes_the_file_that_a_link_names(
    tmp_path: pathlib.Path,
) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to("later.csv")
    with files.output_stream(str(link)) as stream:
        stream.write("new")
    assert link.is_symlink() and (tmp_path / "later.csv").read_text() == "new"


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


# What a folder from somebody else may hold in place of a file of ours.
_PLANTED = ("link", "link to nowhere", "pipe", "folder")


def plant(path: pathlib.Path, what: str, victim: pathlib.Path) -> None:
    if what == "link":
        path.symlink_to(victim)
    elif what == "link to nowhere":
        path.symlink_to(victim.with_name("nowhere"))
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("what", _PLANTED)
@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.append_text(path, "line\n"),
        lambda path: files.truncate(path, 1),
        files.synced_size,
    ],
    ids=["append_text", "truncate", "synced_size"],
)
def test_what_is_no_file_of_ours_is_not_written_to(
    tmp_path: pathlib.Path, what: str, write: Callable[[str], object]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "events.jsonl"
    plant(path, what, victim)
    with pytest.raises(OSError, match="link|regular") as caught:
        write(str(path))
    assert caught.value.filename == str(path)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("what", ["link", "link to nowhere", "pipe"])
def test_a_replaced_file_is_not_written_through(
    tmp_path: pathlib.Path, what: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "config.json"
    plant(path, what, victim)
    # The name that earlier versions wrote to first.
    plant(path.with_name("config.json.partial"), what, victim)
    files.write_text(str(path), "{}")
    assert victim.read_text() == "precious"
    assert not path.is_symlink() and path.read_text() == "{}"
    assert not (tmp_path / "nowhere").exists()


def test_new_files_have_the_mode_that_the_umask_asks_for(
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


@pytest.mark.parametrize("what", ["pipe", "folder"])
@pytest.mark.parametrize(
    "read",
    [files.read, files.read_text, files.fetched],
    ids=["read", "read_text", "fetched"],
)
def test_only_regular_files_are_read(
    tmp_path: pathlib.Path, what: str, read: Callable[[str], object]
) -> None:
    path = tmp_path / "config.json"
    plant(path, what, path)
    with pytest.raises(OSError, match="not a regular file"):
        read(str(path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".0123456789abcdef.partial", True),
        (".probe-0123456789abcdef.partial", True),
        ("config.json.0123456789ab.partial", True),
        ("photo.partial", False),
        ("config.json.partial", False),
        (".0123456789abcdef", False),
        ("config.json", False),
    ],
)
def test_is_partial(name: str, expected: bool) -> None:
    assert files.is_partial(name) is expected
