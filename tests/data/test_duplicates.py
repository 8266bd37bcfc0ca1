"""Images of equal bytes in several splits or with several labels."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.data.duplicates import (
    FAIL,
    SKIP,
    WARN,
    contradictions,
    duplicate_rows,
    kept_rows,
)
from trainer.data.samples import Samples
from trainer.errors import TrainerError


def samples(digests: str, labels: list[int]) -> Samples:
    """Returns samples with one letter each as digest and id."""
    count = len(digests)
    return Samples(
        ids=tuple(f"{i}{d}" for i, d in enumerate(digests)),
        labels=np.array(labels, np.int32),
        paths=("",) * count,
        offsets=np.zeros(count, np.int64),
        lengths=np.zeros(count, np.int64),
        digests=tuple(digests),
    )


@pytest.mark.parametrize(
    ("policy", "digests", "labels", "elsewhere", "expected"),
    [
        (WARN, "abcd", [0, 0, 1, 1], "a", [0, 1, 2, 3]),
        (SKIP, "abcd", [0, 0, 1, 1], "ax", [1, 2, 3]),
        # Two labels for b, so both copies go; a copy of one label stays.
        (SKIP, "abcbaa", [0, 0, 1, 1, 0, 0], "", [0, 2, 4, 5]),
        (FAIL, "abcd", [0, 0, 1, 1], "x", [0, 1, 2, 3]),
    ],
)
def test_policy(
    policy: str,
    digests: str,
    labels: list[int],
    elsewhere: str,
    expected: list[int],
) -> None:
    rows = kept_rows(
        policy,
        samples(digests, labels),
        [samples(elsewhere, [0] * len(elsewhere))],
        ["cat", "dog"],
    )
    assert rows.tolist() == expected


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (FAIL, "--on_duplicate=fail: 2 training images are also in another"),
        (SKIP, "--on_duplicate=skip: leaves no training image of class 'cat'"),
    ],
)
def test_policy_fails_in_one_line(policy: str, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        kept_rows(
            policy, samples("abc", [0, 0, 1]), [samples("ab", [0, 0])],
            ["cat", "dog"],
        )  # fmt: skip


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    """Photos of which one is in train and test, and one has two labels."""
    folder = pathlib.Path(make_photos(tmp_path / "photos", train=6, test=3))
    sushi = folder / "train/sushi"
    shutil.copy(sushi / "001.jpg", folder / "test/sushi/same.jpg")
    shutil.copy(sushi / "002.jpg", folder / "train/apple pie/other.jpg")
    return folder


def test_manifest_names_copies_and_contradictions(
    photos: pathlib.Path,
) -> None:
    manifest = build(photos, data_pct=100)
    assert len(manifest.train) == 19
    assert manifest.shared_content == (("sushi/001.jpg", "sushi/same.jpg"),)
    (image,) = manifest.contradictions
    assert image.samples == (
        ("train", "apple pie/other.jpg", "apple pie"),
        ("train", "sushi/002.jpg", "sushi"),
    )
    rows = duplicate_rows(manifest.shared_content, (), manifest.contradictions)
    assert list(rows) == [
        ["other split", "train", "sushi/001.jpg", "test", "sushi/same.jpg"],
        ["other label", "train", "apple pie/other.jpg", "train",
         "sushi/002.jpg"],
    ]  # fmt: skip
    assert contradictions(manifest.splits, manifest.class_names) == (image,)


def test_skipped_copies_are_neither_trained_on_nor_warned_of(
    photos: pathlib.Path,
) -> None:
    manifest = build(photos, data_pct=100, on_duplicate=SKIP)
    assert len(manifest.train) == 16
    assert manifest.shared_content == ()
    assert not {"sushi/001.jpg", "sushi/002.jpg"} & set(manifest.train.ids)
    # The test split stays whole.
    assert len(manifest.final) == 10


def test_skip_changes_nothing_without_duplicates(
    tmp_path: pathlib.Path,
) -> None:
    folder = pathlib.Path(make_photos(tmp_path / "photos", train=6, test=3))
    usual, skipping = build(folder), build(folder, on_duplicate=SKIP)
    assert usual.fingerprint == skipping.fingerprint
    assert usual.to_json() == skipping.to_json()
