"""Data that are bad, have changed, are others, or cannot be had."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from tests.support import tfds_images
from tests.support.bad_flag_cases.case import (
    BASE,
    FAILURE,
    assert_one_line,
    evaluating,
    filled,
)
from tests.support.bad_flag_cases.folders import spoil
from tests.support.command import command
from tests.support.photos import make_photos
from tests.support.tiny import use_tiny_backbone
from trainer.data import connectivity

# TFDS knows the data sets as soon as their classes are defined.
assert tfds_images


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with photos."""
    folder = tmp_path_factory.mktemp("bad_data")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        make_photos(folder / "photos", train=4, test=3)
        yield folder


@pytest.fixture(scope="module")
def finished(root):
    """A workdir whose run is complete."""
    workdir = root / "finished"
    said = command(*filled(root, {**BASE, "workdir": workdir}))
    assert said.status == 0, said.err
    return workdir


@pytest.mark.slow
def test_bad_images_are_skipped_and_named(root, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(root / "photos", photos)
    spoilt = {
        "train/sushi/000.jpg": "corrupt",
        "train/sushi/001.jpg": "truncated",
        "train/apple pie/002.jpg": "zero",
        "test/apple pie/000.jpg": "html",
        "test/sushi/002.jpg": "tiff",
    }
    for name, how in spoilt.items():
        spoil(photos / name, how)
    workdir = tmp_path / "run"
    values = {
        **BASE,
        "dataset": photos,
        "on_bad_image": "skip",
        "workdir": workdir,
    }
    said = command(*filled(root, values))
    assert (said.status, said.err) == (0, "")
    manifest = json.loads((workdir / "manifest.json").read_text())
    skipped = {bad["path"] for bad in manifest["skipped"]}
    assert skipped == {str(photos / name) for name in spoilt}
    for name in spoilt:
        assert f"warning: left out {photos / name}: " in said.out
    result = json.loads((workdir / "result.json").read_text())
    assert (result["train_examples"], result["test_examples"]) == (9, 7)


@pytest.mark.slow
def test_evaluate_warns_of_photos_that_changed(root, tmp_path):
    photos = make_photos(tmp_path / "photos", train=4, test=3)
    workdir = tmp_path / "run"
    values = {**BASE, "dataset": photos, "workdir": workdir}
    assert command(*filled(root, values)).status == 0
    warning = f"warning: {photos}: the photos have changed since the run; "
    flags = {"stage": "evaluate", "workdir": workdir}
    said = command(*filled(root, flags))
    assert (said.status, warning in said.out) == (0, False)
    (tmp_path / "photos/test/sushi/000.jpg").unlink()
    said = command(*filled(root, flags))
    assert (said.status, warning in said.out) == (0, True)


@pytest.mark.slow
def test_evaluate_on_data_of_other_classes(root, finished, tmp_path):
    other = make_photos(tmp_path, train=2, test=2, classes=("a", "b"))
    flags = evaluating(str(finished), dataset=other)
    said = command(*filled(root, flags))
    assert_one_line(
        said.err,
        (
            f"--dataset={other!r}: no image in a folder with the name of a"
            " class of the run, such as 'apple pie'; give a folder",
            "'apple pie', 'sushi', 'борщ'",
        ),
    )
    assert said.status == FAILURE


@pytest.mark.parametrize(
    ("dataset", "name", "host"),
    [
        ("trainer_unreachable", "trainer_unreachable", "photos.invalid"),
        ("food10", "food101", "data.vision.ee.ethz.ch"),
    ],
)
def test_an_impossible_download_is_one_line(
    root, tmp_path, monkeypatch, dataset, name, host
):
    if dataset == "food10":
        # A machine with a network would start on five gigabytes.
        monkeypatch.setattr(connectivity, "_answers", lambda url: False)
    values = {
        **BASE,
        "dataset": dataset,
        "tfds_data_dir": tmp_path / "tfds",
        "workdir": tmp_path / "run",
    }
    start = time.monotonic()
    said = command(*filled(root, values))
    assert time.monotonic() - start < 15
    assert_one_line(
        said.err,
        (
            f"--dataset={dataset!r}: not prepared under {tmp_path}/tfds/{name}",
            f"{host} cannot be reached",
            f"tfds build {name}",
            "--tfds_data_dir",
        ),
    )
    assert said.status == FAILURE
