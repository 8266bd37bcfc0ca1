"""Manifests of a second start: fingerprints, and which files are read."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.support.images import make_folder, write_image
from tests.support.manifests import build, stored
from trainer.cache import CacheFolder, FileCache
from trainer.data import check


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three classes with six images in train and four in test each."""
    return pathlib.Path(make_folder(tmp_path / "photos"))


def _touch(photos: pathlib.Path) -> None:
    os.utime(photos / "test" / "sushi" / "000.jpg", ns=(1, 1))


def _other_content(photos: pathlib.Path) -> None:
    write_image(photos / "test" / "sushi" / "000.jpg", seed=99)


def _other_name(photos: pathlib.Path) -> None:
    folder = photos / "test" / "sushi"
    (folder / "000.jpg").rename(folder / "zzz.jpg")


def _other_class_name(photos: pathlib.Path) -> None:
    for split in ("train", "test"):
        (photos / split / "sushi").rename(photos / split / "sashimi")


def _other_label(photos: pathlib.Path) -> None:
    (photos / "test" / "sushi" / "000.jpg").rename(
        photos / "test" / "apple pie" / "zzz.jpg"
    )


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (_touch, True),
        (_other_content, False),
        (_other_name, False),
        (_other_class_name, False),
        (_other_label, False),
    ],
)
def test_the_fingerprint_changes_with_names_and_content(
    photos: pathlib.Path, change: Callable[[pathlib.Path], None], same: bool
) -> None:
    before = build(photos)
    change(photos)
    after = build(photos, earlier=stored(before))
    assert (after.fingerprint == before.fingerprint) is same


def test_the_fingerprint_ignores_unused_images(photos: pathlib.Path) -> None:
    before = build(photos)
    unused = set(before.splits["train"].samples.ids) - set(before.train.ids)
    write_image(photos / "train" / min(unused), seed=99)
    assert build(photos).fingerprint == before.fingerprint
    assert build(photos, data_pct=100).fingerprint != before.fingerprint
    write_image(photos / "train" / before.train.ids[0], seed=99)
    assert build(photos).fingerprint != before.fingerprint


def test_the_fingerprint_does_not_depend_on_the_location(
    photos: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(photos, tmp_path / "elsewhere")
    assert (
        build(photos).fingerprint == build(tmp_path / "elsewhere").fingerprint
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The encoded images that are checked."""
    found: list[bytes] = []

    def spy(encoded: bytes) -> None:
        found.append(encoded)

    monkeypatch.setattr(check, "what_is_wrong", spy)
    return found


def test_a_second_start_reads_only_changed_files(
    photos: pathlib.Path, reads: list[bytes]
) -> None:
    first = build(photos)
    assert len(reads) == 30
    reads.clear()
    again = build(photos, earlier=stored(first))
    assert reads == []
    assert again.to_json() == first.to_json()
    # The check covers samples outside the subset too.
    build(photos, earlier=stored(first), data_pct=100, seed=3)
    assert reads == []
    path = write_image(photos / "train" / "sushi" / "000.jpg", seed=99)
    build(photos, earlier=stored(first))
    assert reads == [path.read_bytes()]


def test_checks_are_cached_for_other_runs(
    photos: pathlib.Path, tmp_path: pathlib.Path, reads: list[bytes]
) -> None:
    cache = FileCache(CacheFolder(str(tmp_path / "cache"), disk_bytes=10**9))
    first = build(photos, cache=cache)
    assert len(reads) == 30
    reads.clear()
    again = build(photos, cache=cache)
    assert reads == []
    assert again.to_json() == first.to_json()
    path = write_image(photos / "train" / "sushi" / "000.jpg", seed=99)
    changed = build(photos, cache=cache)
    assert reads == [path.read_bytes()]
    reads.clear()
    assert build(photos, cache=cache).to_json() == changed.to_json()
    assert reads == []
    # The manifest of the workdir takes precedence over the cache.
    build(photos, earlier=stored(first), cache=cache)
    assert reads == [path.read_bytes()]
    # Times and sizes are the same.
    shutil.copytree(photos, tmp_path / "copy")
    reads.clear()
    build(tmp_path / "copy", cache=cache)
    assert len(reads) == 30


def test_a_file_with_its_old_time_and_size_is_read_again(
    photos: pathlib.Path, tmp_path: pathlib.Path, reads: list[bytes]
) -> None:
    """Unpacking an archive may set the time of a file back."""
    cache = FileCache(CacheFolder(str(tmp_path / "cache"), disk_bytes=10**9))
    path = photos / "train" / "sushi" / "000.jpg"
    first = build(photos, cache=cache)
    found, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-3] + bytes(reversed(content[-3:])))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    reads.clear()
    for earlier in (None, stored(first)):
        again = build(photos, earlier=earlier, cache=cache)
        assert path.read_bytes() in reads
        assert again.to_json()["splits"] != first.to_json()["splits"]


def test_cached_checks_of_another_tensorflow_are_not_used(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    reads: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = FileCache(CacheFolder(str(tmp_path / "cache"), disk_bytes=10**9))
    build(photos, cache=cache)
    reads.clear()
    monkeypatch.setattr(tf, "__version__", "0.0.0")
    build(photos, cache=cache)
    assert len(reads) == 30


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"{"])
def test_malformed_cached_checks_are_ignored(
    photos: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    monkeypatch.setattr(FileCache, "read", lambda self, key_fields: content)
    whole = build(photos).to_json()
    assert build(photos, cache=FileCache(None)).to_json() == whole


def test_a_copy_of_the_folder_is_read(
    photos: pathlib.Path, tmp_path: pathlib.Path, reads: list[bytes]
) -> None:
    earlier = stored(build(photos))
    # Times and sizes are the same.
    shutil.copytree(photos, tmp_path / "copy")
    reads.clear()
    build(tmp_path / "copy", earlier=earlier)
    assert len(reads) == 30


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda values: {}, id="empty"),
        pytest.param(lambda values: [], id="a_list"),
        pytest.param(lambda values: {**values, "splits": None}, id="no_splits"),
        pytest.param(
            lambda values: {**values, "splits": {"train": {"ids": []}}},
            id="columns_missing",
        ),
        pytest.param(
            lambda values: values["splits"]["train"]["sizes"].pop() and values,
            id="column_too_short",
        ),
        pytest.param(
            lambda values: {
                **values,
                "splits": {
                    "train": {**values["splits"]["train"], "sizes": ["x"] * 18}
                },
            },
            id="not_numbers",
        ),
    ],
)
def test_a_malformed_earlier_manifest_is_ignored(
    photos: pathlib.Path, reads: list[bytes], spoil: Callable[[Any], Any]
) -> None:
    first = build(photos)
    reads.clear()
    again = build(photos, earlier=spoil(stored(first)))
    assert len(reads) == 30
    assert again.to_json() == first.to_json()
