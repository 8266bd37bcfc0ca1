"""Files by path and by URL: reading and listing give the same answers."""

from __future__ import annotations

import contextlib
import stat

import pytest

from trainer.storage import files


def test_types_and_sizes(place):
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
    assert (found.st_size, stat.S_ISREG(found.st_mode)) == (7, True)
    assert stat.S_ISDIR(files.stat(root).st_mode)


def test_a_broken_link_exists(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    assert files.exists(str(tmp_path / "link"))
    assert not files.is_file(str(tmp_path / "link"))


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
def test_glob_patterns(place, pattern, found):
    _, root = place
    assert sorted(files.glob(f"{root}/{pattern}")) == [
        f"{root}/{path}" for path in found
    ]


def test_reading_a_range_of_bytes(place):
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


def test_a_local_copy_is_refreshed_after_a_write(place):
    _, root = place
    path = f"{root}/one.txt"
    files.fetched(path)
    files.write_text(path, "ten of them")
    with open(files.fetched(path)) as stream:
        assert stream.read() == "ten of them"


def test_appending_truncating_and_removing(place):
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


def test_only_an_empty_folder_is_removed(place):
    _, root = place
    files.make_dirs(f"{root}/empty/below")
    files.remove_empty(f"{root}/empty/below")
    assert not files.is_dir(f"{root}/empty/below")
    for folder in (root, f"{root}/пицца"):
        with contextlib.suppress(OSError):
            files.remove_empty(folder)
        assert files.read_text(f"{root}/пицца/two.JPG") == "пицца/two.JPG"
