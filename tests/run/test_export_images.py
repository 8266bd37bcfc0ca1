"""The images on which an export is compared."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from trainer.data.rendering import PLAIN
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.run import export_images
from trainer.run.export_images import (
    calibration_images,
    generated_images,
    images_to_compare,
    images_to_measure,
    spread_rows,
)


def samples(folder: pathlib.Path, count: int) -> Samples:
    """Returns grey images of 4 px, one level brighter from row to row."""
    paths = []
    for row in range(count):
        path = folder / f"{row}.png"
        Image.new("RGB", (4, 4), (row, row, row)).save(path)
        paths.append(str(path))
    return Samples(
        ids=tuple(paths),
        labels=np.arange(count, dtype=np.int32) % 3,
        paths=tuple(paths),
        offsets=np.zeros(count, np.int64),
        lengths=np.full(count, WHOLE_FILE, np.int64),
    )


@pytest.mark.parametrize(
    ("total", "most", "rows"),
    [
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 3, [0, 2, 4]),
        (1000, 4, [0, 250, 500, 750]),
    ],
)
def test_rows_are_spread_over_all_samples(
    total: int, most: int, rows: list[int]
) -> None:
    """Samples are sorted by class."""
    assert spread_rows(total, most) == rows


def test_images_are_compared_that_can_be_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second of 64 is read; a record has no image."""
    monkeypatch.setattr(
        export_images,
        "read_encoded_image",
        lambda _, row: None if row == 4 else row,
    )
    found = images_to_compare(samples(tmp_path, 64), 4)
    assert found == [0, 2, *range(6, 64, 2)]


def test_measured_images_have_their_labels(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_images, "_MOST_IMAGES", 3)
    found = images_to_measure(samples(tmp_path, 7), 2, PLAIN)
    assert found.pixels.shape == (3, 2, 2, 3)
    assert found.pixels.dtype == np.uint8
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert found.labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(("px", "count"), [(2, 7), (20, 4)])
def test_large_images_are_fewer(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    px: int,
    count: int,
) -> None:
    monkeypatch.setattr(export_images, "_MOST_PIXELS", 4 * 20**2)
    monkeypatch.setattr(export_images, "_COMPARED_IMAGES", 1)
    found = images_to_measure(samples(tmp_path, 7), px, PLAIN)
    assert len(found.pixels) == count


def test_calibration_images_are_always_the_same(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_images, "_CALIBRATION_IMAGES", 2)
    train = samples(tmp_path, 8)
    for _ in range(2):
        found = calibration_images(train, 4, PLAIN)
        assert found[:, 0, 0, 0].tolist() == [0, 4]


def test_generated_images_are_those_that_are_compared() -> None:
    found = generated_images(6)
    assert (found.shape, found.dtype) == ((8, 6, 6, 3), np.uint8)
    assert len(images_to_compare(None, 6)) == 8
