"""Folders are replaced whole, and files that others added stay."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.storage.places import PLACES, open_place
from tests.storage.replacing import (
    WRITTEN,
    all_of,
    content,
    fail,
    replace,
)
from trainer.storage import files, folders


@pytest.fixture(params=PLACES)
def folder(
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Returns the path of a missing folder whose parent exists."""
    return f"{open_place(request.param, tmp_path, monkeypatch)}/export"


def test_a_folder_is_replaced_or_unchanged(folder: str) -> None:
    replace(folder, "old")
    assert content(folder) == all_of("old")
    with pytest.raises(ZeroDivisionError):
        replace(folder, "half", fail)
    assert content(folder) == all_of("old")
    replace(folder, "new")
    assert content(folder) == all_of("new")
    assert files.names(os.path.dirname(folder)) == ["export"]


@pytest.mark.parametrize(
    "name", ["notes.txt", "saved/assets.extra/notes.txt", "saved/more", "."]
)
def test_a_name_added_before_is_refused(folder: str, name: str) -> None:
    replace(folder, "old")
    added = f"{folder}/saved/mine/.keep" if name == "." else f"{folder}/{name}"
    files.make_dirs(os.path.dirname(added))
    files.write_text(added, "mine")
    before = content(folder)
    with pytest.raises(folders.StrangerError) as error:
        replace(folder, "new", lambda: pytest.fail("filled in vain"))
    assert added.startswith(f"{folder}/{error.value.name}")
    assert content(folder) == before
    assert files.names(os.path.dirname(folder)) == ["export"]


def test_a_name_added_meanwhile_is_refused(folder: str) -> None:
    replace(folder, "old")
    with pytest.raises(folders.StrangerError, match=r"notes\.txt"):
        replace(
            folder,
            "new",
            lambda: files.write_text(f"{folder}/notes.txt", "mine"),
        )
    assert content(folder) == {**all_of("old"), "notes.txt": "mine"}
    assert files.names(os.path.dirname(folder)) == ["export"]


def test_without_a_record_every_name_is_refused(folder: str) -> None:
    files.make_dirs(folder)
    files.write_text(f"{folder}/a", "mine")
    with pytest.raises(folders.StrangerError, match="a"):
        replace(folder, "new")
    assert content(folder) == {"a": "mine"}


def test_an_empty_folder_is_replaced(folder: str) -> None:
    files.make_dirs(folder)
    replace(folder, "new")
    assert content(folder) == all_of("new")


def test_a_file_in_place_of_the_folder_is_refused(folder: str) -> None:
    files.write_text(folder, "mine")
    with pytest.raises(folders.StrangerError) as error:
        replace(folder, "new")
    assert error.value.name == ""
    assert files.read_text(folder) == "mine"


@pytest.mark.parametrize(
    "made", ["link", "folder_link", "pipe", "empty_folder"]
)
def test_links_pipes_and_empty_folders_are_refused(
    tmp_path: pathlib.Path, made: str
) -> None:
    export, other = tmp_path / "export", tmp_path / "other"
    replace(str(export), "old")
    other.mkdir()
    (other / "kept").touch()
    path = export / {"folder_link": "saved", "empty_folder": "b"}.get(made, "a")
    if made == "folder_link":
        (path / "model.pb").unlink()
        path.rmdir()
        path.symlink_to(other)
    elif made == "empty_folder":
        path.mkdir()
    else:
        path.unlink()
        os.mkfifo(path) if made == "pipe" else path.symlink_to(other / "kept")
    with pytest.raises(folders.StrangerError, match=path.name):
        replace(str(export), "new")
    assert os.path.lexists(path)
    assert (other / "kept").exists()


def test_a_link_stays_and_its_folder_is_replaced(
    tmp_path: pathlib.Path,
) -> None:
    real, link = tmp_path / "disk/real", tmp_path / "link"
    real.mkdir(parents=True)
    link.symlink_to(real)
    for text in ("old", "new"):
        replace(str(link), text)
        assert content(str(real)) == all_of(text)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "disk") == ["real"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"]


def test_a_broken_link_is_refused(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(folders.StrangerError):
        replace(str(link), "new")
    assert os.listdir(tmp_path) == ["link"]


def test_parents_are_created_and_removed_after_an_error(
    tmp_path: pathlib.Path,
) -> None:
    path = str(tmp_path / "a/b/export")
    with pytest.raises(ZeroDivisionError):
        replace(path, "new", fail)
    assert os.listdir(tmp_path) == []
    replace(path, "new")
    assert content(path) == all_of("new")


def test_the_new_folder_has_default_permissions(tmp_path: pathlib.Path) -> None:
    (tmp_path / "usual").mkdir()
    replace(str(tmp_path / "export"), "new")
    assert (tmp_path / "export").stat().st_mode == (
        tmp_path / "usual"
    ).stat().st_mode


# Replaces a folder, and kills its process before the call of a given number
# that changes the file system. Without TensorFlow, so that it starts quickly.
_KILLED = """
import os, sys
from trainer.storage import folders
root, at, *names = sys.argv[1:]
calls = 0
def counted(call):
    def counting(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(at):
            os._exit(9)
        return call(*args, **kwargs)
    return counting
for name in ("mkdir", "rename", "remove", "rmdir", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
own = lambda folder: lambda name: name in (*names, "saved/")
swap = folders.replaced_folder(root + "/export", own=own, last=("record",))
with swap as new:
    os.mkdir(new + "/saved")
    for name in names:
        open(new + "/" + name, "w").write("new")
"""


@pytest.mark.slow
def test_a_kill_leaves_a_complete_folder(tmp_path: pathlib.Path) -> None:
    at, restored_once = 0, False
    while True:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        target = str(root / "export")
        replace(target, "old")
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(root), str(at), *WRITTEN],
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
        if os.path.exists(target):
            assert content(target) in (all_of("old"), all_of("new"))
        else:
            (old,) = root.glob(".trainer-*/old")
            assert content(str(old)) == all_of("old")
            restored_once = True
            # The former folder is restored even if the replacement fails.
            with pytest.raises(ZeroDivisionError):
                replace(target, "half", fail)
            assert content(target) == all_of("old")
        replace(target, "newer")
        assert content(target) == all_of("newer")
        assert os.listdir(root) == ["export"]
    assert restored_once
    assert at > 10


def test_an_empty_target_does_not_lose_the_former_folder(
    tmp_path: pathlib.Path,
) -> None:
    """After a kill between two renames, somebody may create the target."""
    target = tmp_path / "export"
    replace(str(target), "old")
    aside = tmp_path / f"{folders._prefix(str(target))}killed"
    aside.mkdir()
    target.rename(aside / "old")
    target.mkdir()
    with pytest.raises(ZeroDivisionError):
        replace(str(target), "half", fail)
    assert content(str(target)) == all_of("old")
    assert os.listdir(tmp_path) == ["export"]


def test_a_folder_that_is_being_filled_stays(tmp_path: pathlib.Path) -> None:
    target = str(tmp_path / "export")

    def meanwhile() -> None:
        replace(target, "first")
        assert content(target) == all_of("first")

    replace(target, "second", meanwhile)
    assert content(target) == all_of("second")
    assert os.listdir(tmp_path) == ["export"]


def test_other_hidden_folders_stay(tmp_path: pathlib.Path) -> None:
    target = str(tmp_path / "export")
    mine = tmp_path / f"{folders._prefix(target)}mine"
    other = tmp_path / ".trainer-000000000000-abcdefgh/old"
    link = tmp_path / f"{folders._prefix(target)}link"
    (mine / "photos").mkdir(parents=True)
    other.mkdir(parents=True)
    link.symlink_to(mine)
    before = sorted(os.listdir(tmp_path))
    replace(target, "new")
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "export"])
    assert (mine / "photos").is_dir()
    assert other.is_dir()


def test_the_hidden_folder_has_a_random_name(tmp_path: pathlib.Path) -> None:
    seen: list[pathlib.Path] = []
    for _ in range(2):
        replace(
            str(tmp_path / "export"),
            "new",
            lambda: seen.extend(tmp_path.glob(".trainer-*")),
        )
    assert len(set(seen)) == 2
