"""Folders are replaced whole; only what their writer wrote is removed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest

from tests.support.bucket import Bucket
from trainer.storage import files, folders, remote

PLACES = ("local", "ram", "bucket")
WRITTEN = ("a", "record", "saved/model.pb", "z")


@pytest.fixture(params=PLACES)
def folder(
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The path of a folder that is not there yet; what is above it is."""
    root = {
        "local": str(tmp_path),
        "ram": f"ram://{uuid.uuid4().hex}",
        "bucket": "gs://bucket/a folder",
    }[request.param]
    if request.param == "bucket":
        bucket = Bucket()
        monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    files.make_dirs(root)
    return f"{root}/export"


def fill(folder: str, text: str) -> None:
    for name in WRITTEN:
        path = pathlib.Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def own(folder: str) -> folders.Own:
    """With a record, all of WRITTEN is the writer's own; else nothing is."""
    there = files.is_file(f"{folder}/record")
    return lambda name: there and name in (*WRITTEN, "saved/")


def replace(folder: str, text: str, amid: Callable[[], object] = str) -> None:
    with folders.replaced_folder(folder, own=own, last=("record",)) as new:
        fill(new, text)
        amid()


def content(folder: str) -> dict[str, str]:
    """The files below a folder, and what is in them."""
    return {
        name: files.read_text(f"{folder}/{name}")
        for name in folders.files_below(folder)
    }


def all_of(text: str) -> dict[str, str]:
    return dict.fromkeys(WRITTEN, text)


def fail() -> None:
    raise ZeroDivisionError


def test_a_folder_takes_the_place_of_another(folder: str) -> None:
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
def test_an_added_name_is_refused(folder: str, name: str) -> None:
    replace(folder, "old")
    added = f"{folder}/saved/mine/.keep" if name == "." else f"{folder}/{name}"
    files.make_dirs(os.path.dirname(added))
    files.write_text(added, "mine")
    before = content(folder)
    with pytest.raises(folders.StrangerError) as error:
        replace(folder, "new", lambda: pytest.fail("filled for nothing"))
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


def test_without_a_record_every_name_is_a_strangers(folder: str) -> None:
    files.make_dirs(folder)
    files.write_text(f"{folder}/a", "mine")
    with pytest.raises(folders.StrangerError, match="a"):
        replace(folder, "new")
    assert content(folder) == {"a": "mine"}


def test_an_empty_folder_is_replaced(folder: str) -> None:
    files.make_dirs(folder)
    replace(folder, "new")
    assert content(folder) == all_of("new")


def test_what_is_no_folder_is_refused(folder: str) -> None:
    files.write_text(folder, "mine")
    with pytest.raises(folders.StrangerError) as error:
        replace(folder, "new")
    assert error.value.name == ""
    assert files.read_text(folder) == "mine"


@pytest.mark.parametrize(
    "made", ["link", "folder_link", "pipe", "empty_folder"]
)
def test_what_no_writer_makes_is_refused(
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


def test_a_link_to_a_folder_is_written_through(tmp_path: pathlib.Path) -> None:
    real, link = tmp_path / "disk/real", tmp_path / "link"
    real.mkdir(parents=True)
    link.symlink_to(real)
    for text in ("old", "new"):
        replace(str(link), text)
        assert content(str(real)) == all_of(text)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "disk") == ["real"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"]


def test_a_link_to_nowhere_is_refused(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(folders.StrangerError):
        replace(str(link), "new")
    assert os.listdir(tmp_path) == ["link"]


def test_folders_above_are_made_and_removed(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a/b/export")
    with pytest.raises(ZeroDivisionError):
        replace(path, "new", fail)
    assert os.listdir(tmp_path) == []
    replace(path, "new")
    assert content(path) == all_of("new")


def test_the_folder_has_usual_permissions(tmp_path: pathlib.Path) -> None:
    (tmp_path / "usual").mkdir()
    replace(str(tmp_path / "export"), "new")
    assert (tmp_path / "export").stat().st_mode == (
        tmp_path / "usual"
    ).stat().st_mode


# Ends its process before the call of the given number of any that changes
# something; without TensorFlow, so that there may be many of them.
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


def test_a_kill_leaves_a_complete_folder(tmp_path: pathlib.Path) -> None:
    at, aside_once = 0, False
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
            aside_once = True
            # What was aside is back, even if nothing takes its place.
            with pytest.raises(ZeroDivisionError):
                replace(target, "half", fail)
            assert content(target) == all_of("old")
        replace(target, "newer")
        assert content(target) == all_of("newer")
        assert os.listdir(root) == ["export"]
    assert aside_once
    assert at > 10


def test_what_another_process_fills_is_left(tmp_path: pathlib.Path) -> None:
    target = str(tmp_path / "export")

    def meanwhile() -> None:
        replace(target, "first")
        assert content(target) == all_of("first")

    replace(target, "second", meanwhile)
    assert content(target) == all_of("second")
    assert os.listdir(tmp_path) == ["export"]


def test_hidden_folders_of_others_are_left(tmp_path: pathlib.Path) -> None:
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


def test_the_hidden_name_cannot_be_guessed(tmp_path: pathlib.Path) -> None:
    seen: list[pathlib.Path] = []
    for _ in range(2):
        replace(
            str(tmp_path / "export"),
            "new",
            lambda: seen.extend(tmp_path.glob(".trainer-*")),
        )
    assert len(set(seen)) == 2


def _stop_at_copy(bucket: Bucket, number: int) -> None:
    """Lets a copy to the bucket fail, as a kill would."""
    real, left = bucket.copy, [number]

    def copy(source: str, target: str, overwrite: bool) -> None:
        left[0] -= 1
        bucket.break_at = None if left[0] else "copy"
        real(source, target, overwrite)

    bucket.copy = copy  # type: ignore[method-assign]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket()
    monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    return bucket


def test_in_a_bucket_the_record_goes_first_and_comes_last(
    bucket: Bucket,
) -> None:
    replace("gs://b/export", "old")
    _stop_at_copy(bucket, 3)
    with pytest.raises(OSError, match="the network is gone"):
        replace("gs://b/export", "new")
    assert sorted(bucket.objects) == [
        "gs://b/export/",
        "gs://b/export/.unfinished",
        "gs://b/export/a",
        "gs://b/export/saved/",
        "gs://b/export/saved/model.pb",
    ]
    # What an upload leaves that was killed.
    bucket.objects["gs://b/export/z.0123456789ab.partial"] = b"ha"
    replace("gs://b/export", "new")
    assert content("gs://b/export") == all_of("new")


@pytest.mark.parametrize(
    "added", ["notes.txt", "saved/notes.txt", "notes.0123456789ab.partial"]
)
def test_in_a_bucket_an_unfinished_folder_keeps_added_names(
    bucket: Bucket, added: str
) -> None:
    _stop_at_copy(bucket, 2)
    with pytest.raises(OSError, match="the network is gone"):
        replace("gs://b/export", "new")
    bucket.objects[f"gs://b/export/{added}"] = b"mine"
    with pytest.raises(folders.StrangerError, match="notes"):
        replace("gs://b/export", "newer")
    assert bucket.objects[f"gs://b/export/{added}"] == b"mine"


def test_in_a_bucket_a_late_stranger_is_never_removed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace("gs://b/export", "old")
    real = folders._require_own

    def then_one_is_added(folder: str, own: Callable[..., folders.Own]) -> None:
        real(folder, own)
        bucket.objects["gs://b/export/notes.txt"] = b"mine"

    with folders.replaced_folder(
        "gs://b/export", own=own, last=("record",)
    ) as new:
        fill(new, "new")
        monkeypatch.setattr(folders, "_require_own", then_one_is_added)
    assert content("gs://b/export") == {**all_of("new"), "notes.txt": "mine"}
