"""The check of every image, and the policy for bad ones."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests.support.images import write_image
from trainer.data import check
from trainer.data.check import CheckResult, apply_policy, check_images
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import TrainerError


def samples_of(
    paths: Sequence[pathlib.Path], labels: Sequence[int] | None = None
) -> Samples:
    """Returns samples of files; labels are 0 by default."""
    return Samples(
        ids=tuple(f"a/{path.name}" for path in paths),
        labels=np.array(labels or [0] * len(paths), np.int32),
        paths=tuple(map(str, paths)),
        offsets=np.zeros(len(paths), np.int64),
        lengths=np.full(len(paths), WHOLE_FILE, np.int64),
    )


def reason(path: pathlib.Path) -> str | None:
    """Returns why a file cannot be read as an image, if so."""
    result = check_images(samples_of([path]), split="train")
    return result.bad[0].reason if result.bad else None


@pytest.mark.parametrize(
    ("name", "format"), [("x.jpg", "PNG"), ("x.png", "JPEG"), ("x", "BMP")]
)
def test_the_format_is_detected_by_content(
    tmp_path: pathlib.Path, name: str, format: str
) -> None:
    path = write_image(tmp_path / name, format=format)
    result = check_images(samples_of([path]), split="train")
    assert not result.bad
    (file,) = result.files
    assert file is not None
    assert file.size == path.stat().st_size
    assert file.mtime_ns == path.stat().st_mtime_ns
    content = hashlib.blake2b(path.read_bytes(), digest_size=16)
    assert file.digest == content.hexdigest()


def test_broken_links_and_pipes_are_bad_images(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to(tmp_path / "nowhere")
    assert reason(link) == "cannot be read (No such file or directory)"
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert reason(pipe) == "not a regular file"


def test_every_bad_image_is_reported_in_order(
    tmp_path: pathlib.Path,
) -> None:
    paths = [write_image(tmp_path / f"{i:02}.jpg", seed=i) for i in range(20)]
    for i in (3, 11):
        paths[i].write_bytes(b"")
    result = check_images(samples_of(paths), split="test")
    assert [(bad.split, bad.id, bad.path) for bad in result.bad] == [
        ("test", "a/03.jpg", str(paths[3])),
        ("test", "a/11.jpg", str(paths[11])),
    ]
    assert [i for i, file in enumerate(result.files) if file is None] == [3, 11]
    assert len({file.digest for file in result.files if file}) == 18


def test_images_in_records_are_checked(tmp_path: pathlib.Path) -> None:
    path = write_image(tmp_path / "x.jpg")
    values = tf.train.BytesList(value=[path.read_bytes()])
    features = tf.train.Features(
        feature={"photo": tf.train.Feature(bytes_list=values)}
    )
    record = tf.train.Example(features=features).SerializeToString()
    shard = tmp_path / "shard"
    shard.write_bytes(b"before" + record + b"after")
    samples = Samples(
        ids=("shard__0", "shard__1"),
        labels=np.zeros(2, np.int32),
        paths=(str(shard), str(shard)),
        offsets=np.array([6, 7]),
        lengths=np.array([len(record), len(record)]),
        record_image_key="photo",
    )
    result = check_images(samples, split="train")
    whole = check_images(samples_of([path]), split="train")
    assert result.files[0] is not None
    assert whole.files[0] is not None
    assert result.files[0].digest == whole.files[0].digest
    assert str(result.bad[0]) == (
        f"{shard} (shard__1): the record has no image 'photo'"
    )


def test_known_files_are_not_read_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write_image(tmp_path / f"{i}.png", format="PNG", seed=i)
        for i in range(4)
    ]
    samples = samples_of(paths)
    first = check_images(samples, split="train")
    known = {
        sample_id: file
        for sample_id, file in zip(samples.ids, first.files, strict=True)
        if file is not None
    }
    # One file gets another time, one another size.
    os.utime(paths[1], ns=(1, 1))
    paths[2].write_bytes(paths[2].read_bytes() + b"\0")
    checked = []

    def spy(encoded: bytes) -> None:
        checked.append(encoded)

    monkeypatch.setattr(check, "what_is_wrong", spy)
    second = check_images(samples, split="train", known=known)
    assert sorted(checked) == sorted(p.read_bytes() for p in paths[1:3])
    for i, same in enumerate((True, True, False, True)):
        mine, theirs = second.files[i], first.files[i]
        assert mine is not None
        assert theirs is not None
        assert (mine.digest == theirs.digest) is same


@pytest.fixture
def results(tmp_path: pathlib.Path) -> list[CheckResult]:
    """Two classes of two images; in train one image of each is bad."""
    found = []
    for split in ("train", "test"):
        paths = [
            write_image(tmp_path / split / f"{i}.jpg", seed=i) for i in range(4)
        ]
        if split == "train":
            paths[1].write_bytes(b"")
            paths[2].write_bytes(b"<html>")
        samples = samples_of(paths, [0, 0, 1, 1])
        found.append(check_images(samples, split=split))
    return found


def test_policy_fail_names_the_first_bad_image(
    results: list[CheckResult], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(TrainerError) as error:
        apply_policy(results, class_names=("pie", "sushi"), on_bad_image="fail")
    assert str(error.value) == (
        f"{tmp_path}/train/1.jpg (a/1.jpg): an empty file (and 1 more); fix"
        " or remove it, or --on_bad_image=skip trains on the rest"
    )
    assert error.value.exit_status == 1


def test_policy_skip_leaves_bad_images_out(results: list[CheckResult]) -> None:
    checked = apply_policy(
        results, class_names=("pie", "sushi"), on_bad_image="skip"
    )
    assert checked["train"].samples.ids == ("a/0.jpg", "a/3.jpg")
    assert checked["train"].files == (results[0].files[0], results[0].files[3])
    assert len(checked["test"].samples) == 4


def test_policy_skip_needs_an_image_of_each_class(
    results: list[CheckResult],
) -> None:
    with pytest.raises(TrainerError) as error:
        apply_policy(
            results, class_names=("pie", "ramen", "sushi"), on_bad_image="skip"
        )
    assert str(error.value) == (
        "class 'sushi': no readable image in the train split; add some, or"
        " remove every folder of the class"
    )
