"""Replacing a folder in a bucket, where no folder can be renamed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.storage.replacing import (
    all_of,
    content,
    fill,
    own,
    replace,
)
from tests.support.bucket import Bucket
from trainer.storage import folders, remote


def _stop_at_copy(bucket: Bucket, number: int) -> None:
    """Makes the copy of the given number to the bucket fail."""
    real, left = bucket.copy, [number]

    def copy(source: str, target: str, overwrite: bool) -> None:
        left[0] -= 1
        bucket.break_at = None if left[0] else "copy"
        real(source, target, overwrite)

    bucket.copy = copy  # type: ignore[method-assign]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Returns the bucket that all URLs lead to."""
    bucket = Bucket()
    monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    return bucket


def test_the_record_is_removed_first_and_written_last(
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
    # A killed upload leaves such an object.
    bucket.objects["gs://b/export/z.0123456789ab.partial"] = b"ha"
    replace("gs://b/export", "new")
    assert content("gs://b/export") == all_of("new")


@pytest.mark.parametrize(
    "added", ["notes.txt", "saved/notes.txt", "notes.0123456789ab.partial"]
)
def test_an_unfinished_folder_keeps_added_names(
    bucket: Bucket, added: str
) -> None:
    _stop_at_copy(bucket, 2)
    with pytest.raises(OSError, match="the network is gone"):
        replace("gs://b/export", "new")
    bucket.objects[f"gs://b/export/{added}"] = b"mine"
    with pytest.raises(folders.StrangerError, match="notes"):
        replace("gs://b/export", "newer")
    assert bucket.objects[f"gs://b/export/{added}"] == b"mine"


def test_a_name_added_after_the_check_stays(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace("gs://b/export", "old")
    real = folders._require_own

    def add_after_check(folder: str, own: Callable[..., folders.Own]) -> None:
        real(folder, own)
        bucket.objects["gs://b/export/notes.txt"] = b"mine"

    with folders.replaced_folder(
        "gs://b/export", own=own, last=("record",)
    ) as new:
        fill(new, "new")
        monkeypatch.setattr(folders, "_require_own", add_after_check)
    assert content("gs://b/export") == {**all_of("new"), "notes.txt": "mine"}
