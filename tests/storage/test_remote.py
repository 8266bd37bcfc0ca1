"""Tests of files at URLs: errors, times and requests."""

from __future__ import annotations

import errno
import uuid

import pytest
import tensorflow as tf

from tests.storage.places import PLACES
from tests.support.bucket import Bucket
from trainer.config import Config
from trainer.errors import UsageError
from trainer.run.resolve import default_workdir, resolve
from trainer.storage import files, remote


@pytest.mark.parametrize(
    "place", [p for p in PLACES if p != "local"], indirect=True
)
def test_of_two_concurrent_writes_the_last_wins(place):
    _, root = place
    path = f"{root}/events.jsonl"
    with remote._replacing(path) as one:
        files.write_text(one, "one")
        files.write_text(path, "two")
        assert files.read_text(path) == "two"
    assert files.read_text(path) == "one"


def test_a_listing_alone_tells_folders_from_objects(monkeypatch):
    bucket = Bucket()
    bucket.objects = {f"gs://b/p/sushi/{i}.jpg": b"" for i in range(50)}
    monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    assert [e.is_dir() for e in files.scan("gs://b/p")] == [True]
    entries = files.scan("gs://b/p/sushi")
    assert [e.is_dir() for e in entries] == [False] * 50
    assert bucket.calls == ["listdir", "listdir"]


@pytest.mark.parametrize(
    ("error", "expected", "number"),
    [
        (tf.errors.NotFoundError, FileNotFoundError, errno.ENOENT),
        (tf.errors.PermissionDeniedError, PermissionError, errno.EACCES),
        (tf.errors.UnauthenticatedError, PermissionError, errno.EACCES),
        (tf.errors.AlreadyExistsError, FileExistsError, errno.EEXIST),
        (tf.errors.UnavailableError, OSError, errno.EIO),
    ],
)
def test_errors_of_tensorflow_become_os_errors(
    monkeypatch, error, expected, number
):
    def fail(path: str) -> None:
        raise error(None, None, "the reason\nand more")

    monkeypatch.setattr(tf.io.gfile, "stat", fail)
    with pytest.raises(expected) as caught:
        files.stat("ram://x")
    assert caught.value.errno == number
    assert caught.value.strerror == "the reason"
    assert caught.value.filename == "ram://x"


def test_an_unsupported_scheme_is_a_usage_error():
    with pytest.raises(UsageError) as error:
        files.is_dir("ftp://host/run")
    text = str(error.value)
    assert text.startswith("ftp://host/run: this TensorFlow has no file system")
    assert "gs://" in text
    assert "\n" not in text


def test_a_local_copy_is_refreshed_after_a_write_of_equal_size():
    path = f"ram://{uuid.uuid4().hex}/x"
    for text in ("one", "two"):
        files.write_text(path, text)
        with open(files.fetched(path), encoding="utf-8") as stream:
            assert stream.read() == text


def test_without_a_time_no_object_counts_as_unchanged():
    path = f"ram://{uuid.uuid4().hex}/x"
    files.write_text(path, "x")
    assert tf.io.gfile.stat(path).mtime_nsec == 0
    first, second = (files.stat(path).st_mtime_ns for _ in range(2))
    assert 0 < first < second


def test_a_cache_folder_at_a_url_is_refused():
    with pytest.raises(UsageError, match=r"--cache_dir='gs://b/c': a URL"):
        Config(stage="finetune", dataset="demo", cache_dir="gs://b/c")


@pytest.mark.parametrize("dataset", ["gs://b/photos", "gs://b/photos/"])
def test_the_default_workdir_ignores_a_trailing_slash(dataset):
    config = resolve(Config(stage="finetune", dataset=dataset), 224)
    same = resolve(Config(stage="finetune", dataset="gs://b/photos"), 224)
    assert default_workdir(config) == default_workdir(same)
    assert default_workdir(config).startswith("runs/photos-EfficientNetB0-")
