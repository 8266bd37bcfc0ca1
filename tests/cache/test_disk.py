"""The cache's folder: which one is trusted, and what is removed from it."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.cache.asker import ROW, Asker, segments
from trainer.cache import CacheFolder, CacheRefusedError, FileCache
from trainer.cache.disk import NAME, earlier_cache
from trainer.cache.entries import MARKER, delete_entry, remove_entry

LONG_AGO = time.time() - 30 * 24 * 3600
KEY = "0123456789abcdef01234567"


def snapshot(folder: pathlib.Path) -> dict[str, bytes | None]:
    """Returns the content of all files; None for folders and links."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file() and not path.is_symlink()
        else None
        for path in folder.rglob("*")
    }


def age(folder: pathlib.Path) -> None:
    """Makes all files and folders look unused for a month."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)


def fill_home(base: pathlib.Path) -> None:
    """Fills a folder with files that the cache did not write."""
    for name in (
        ".git/objects/ab",
        ".git/HEAD",
        "photos/pizza/1.jpg",
        ".ssh/id",
        f"{KEY}/rows-abcdefgh/0.rows",
        f"{KEY}/.new-abcdefgh/segment.json",
        f"{KEY}/whole/content",
        ".new-abcdefgh/0.rows",
    ):
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)


def use_all(base: pathlib.Path) -> None:
    """Makes the cache remove entries, for rows and for files."""
    for name in "pqr":
        Asker(base, disk_bytes=3 * ROW).check(
            "ab", computed="ab", key_fields={"kind": name}
        )
    files = FileCache(CacheFolder(str(base), disk_bytes=100))
    for name in "pq":
        files.write({"kind": name}, b"y" * 90)


def test_other_files_beside_the_cache_stay(tmp_path: pathlib.Path) -> None:
    fill_home(tmp_path)
    age(tmp_path)
    before = snapshot(tmp_path)
    use_all(tmp_path)
    shutil.rmtree(tmp_path / NAME)
    assert snapshot(tmp_path) == before


def test_other_files_inside_the_cache_stay(tmp_path: pathlib.Path) -> None:
    Asker(tmp_path).check("ab", computed="ab")
    (segment,) = segments(tmp_path)
    root, key = tmp_path / NAME, segment.parent
    fill_home(root)
    fill_home(key)
    (segment / "mine.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / MARKER).touch()
    (outside / "0.rows").write_text("mine")
    (key / "rows-link0000").symlink_to(outside)
    age(tmp_path)
    before = snapshot(tmp_path)
    use_all(tmp_path)
    assert not segment.exists()
    after = snapshot(tmp_path)
    lost = {name for name in before if name not in after}
    relative = str(segment.relative_to(tmp_path))
    assert {name for name in lost if not name.startswith(relative)} == set()
    # Only the file that the cache did not write is left of the segment.
    assert [p.name for p in key.glob(".gone-*/*")] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("rows-abcdefgh", False),
        ("rows-short", True),
        ("photos", True),
        (".git", True),
        (".old", True),
        ("whole.bak", True),
    ],
)
def test_a_folder_that_is_no_entry_is_never_removed(
    tmp_path: pathlib.Path, name: str, marker: bool
) -> None:
    entry = tmp_path / NAME / KEY / name
    entry.mkdir(parents=True)
    (entry / "content").write_text("mine")
    if marker:
        (entry / MARKER).touch()
    remove_entry(str(entry))
    assert (entry / "content").read_text() == "mine"


def test_an_interrupted_removal_is_completed_later(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tmp_path / NAME / KEY / ".gone-abcdefgh"
    entry.mkdir(parents=True)
    for name in ("0.rows", "content", MARKER):
        (entry / name).touch()
    real, removed = os.remove, []

    def remove(path: str) -> None:
        if removed:
            raise OSError("killed")
        removed.append(path)
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "remove", remove)
        delete_entry(str(entry))
    assert len(os.listdir(entry)) == 2
    delete_entry(str(entry))
    assert not entry.exists()


def test_the_new_folder_is_private_and_tagged(
    tmp_path: pathlib.Path,
) -> None:
    base = tmp_path / "deep" / "base"
    CacheFolder(str(base), disk_bytes=1).make()
    assert (base / NAME).stat().st_mode & 0o777 == 0o700
    text = (base / NAME / "CACHEDIR.TAG").read_text()
    assert text.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert [path.name for path in base.iterdir()] == [NAME]


def _replace_tag(root: pathlib.Path) -> None:
    (root / "CACHEDIR.TAG").unlink()
    (root / "thesis.tex").write_text("years of work")


def _change_tag(root: pathlib.Path) -> None:
    (root / "CACHEDIR.TAG").write_text("Signature: 8a47\n")


def _make_file(root: pathlib.Path) -> None:
    shutil.rmtree(root)
    root.write_text("")


REFUSED: dict[str, tuple[Callable[[pathlib.Path], object], str]] = {
    "group": (lambda root: root.chmod(0o770), r"by others \(mode 0770\)"),
    "world": (lambda root: root.chmod(0o777), r"chmod 700 .*" + NAME),
    "no_tag": (
        _replace_tag,
        "no CACHEDIR.TAG and holds '.*'.*another --cache_dir",
    ),
    "other_tag": (_change_tag, "no CACHEDIR.TAG"),
    "a_file": (_make_file, "is not a folder; remove it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_untrusted_folder_is_refused_and_unchanged(
    tmp_path: pathlib.Path, case: str
) -> None:
    spoil, message = REFUSED[case]
    folder = CacheFolder(str(tmp_path), disk_bytes=10**6)
    folder.make()
    Asker(tmp_path).check("ab", computed="ab")
    spoil(tmp_path / NAME)
    before = snapshot(tmp_path)
    for use in (folder.check, folder.make):
        with pytest.raises(CacheRefusedError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    # Nothing is written to the folder, and rows go to memory.
    asker = Asker(tmp_path)
    asker.check("xy", computed="xy")
    assert len(asker.warnings) == 1
    assert snapshot(tmp_path) == before


def test_another_users_folder_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CacheFolder(str(tmp_path), disk_bytes=10**6)
    folder.make()
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(
        CacheRefusedError, match=r"not to this user \(4321\).*--cache_dir of"
    ):
        folder.check()


@pytest.mark.parametrize("case", ["group", "world", "no_tag", "a_file"])
def test_the_remedy_in_the_message_works(
    tmp_path: pathlib.Path, case: str
) -> None:
    folder = CacheFolder(str(tmp_path), disk_bytes=10**6)
    folder.make()
    root = tmp_path / NAME
    REFUSED[case][0](root)
    with pytest.raises(CacheRefusedError) as caught:
        folder.check()
    chmod = re.search(r"run chmod (\d+) (\S+)", str(caught.value))
    if chmod:
        os.chmod(chmod[2], int(chmod[1], 8))
    elif case == "a_file":
        root.unlink()
    else:
        (root / "thesis.tex").rename(tmp_path / "thesis.tex")
    folder.make()
    Asker(tmp_path).check("ab", computed="ab")


@pytest.mark.parametrize("linked", [False, True])
def test_an_empty_folder_becomes_the_cache(
    tmp_path: pathlib.Path, linked: bool
) -> None:
    if linked:
        (tmp_path / "disk").mkdir(mode=0o700)
        (tmp_path / NAME).symlink_to("disk")
    else:
        (tmp_path / NAME).mkdir(mode=0o755)
    Asker(tmp_path).check("ab", computed="ab")
    again = Asker(tmp_path)
    again.check("ab", computed="")
    assert again.warnings == []


@pytest.mark.parametrize("folder", ["", "transfer-trainer"])
def test_the_cache_of_an_earlier_version_is_found(
    tmp_path: pathlib.Path, folder: str
) -> None:
    assert earlier_cache(str(tmp_path)) is None
    (tmp_path / folder / KEY / "rows-abcdefgh").mkdir(parents=True)
    assert earlier_cache(str(tmp_path)) == str(tmp_path / folder)


def test_a_file_truncated_while_open_raises(
    tmp_path: pathlib.Path,
) -> None:
    asker = Asker(tmp_path, ram_bytes=0)
    found = asker.rows("abc")
    assert found is not None
    (segment,) = segments(tmp_path)
    os.truncate(segment / "0.rows", 30)
    found.read(np.array([0]))
    with pytest.raises(OSError, match="truncated while in use"):
        found.read(np.array([0, 1, 2]))
