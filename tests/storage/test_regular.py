"""Links, pipes and folders in place of regular files are rejected."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

from trainer.storage import files

# What an untrusted folder may contain instead of a file.
_PLANTED = ("link", "broken link", "pipe", "folder")


def plant(path: pathlib.Path, what: str, victim: pathlib.Path) -> None:
    if what == "link":
        path.symlink_to(victim)
    elif what == "broken link":
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
def test_only_regular_files_are_written_to(
    tmp_path: pathlib.Path, what: str, write: Callable[[str], object]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "events.jsonl"
    plant(path, what, victim)
    with pytest.raises(OSError, match=r"link|regular") as caught:
        write(str(path))
    assert caught.value.filename == str(path)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("what", ["link", "broken link", "pipe"])
def test_a_replaced_link_is_not_written_through(
    tmp_path: pathlib.Path, what: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "config.json"
    plant(path, what, victim)
    # Earlier versions wrote to a temporary file of this name.
    plant(path.with_name("config.json.partial"), what, victim)
    files.write_text(str(path), "{}")
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_text() == "{}"
    assert not (tmp_path / "nowhere").exists()


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
