"""Facts about pixels beside Pillow, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from trainer.doctor.looks import small_image, turned


def test_small_image_averages_cells_that_share_pixels() -> None:
    # Three pixels in two cells: the middle one counts half in each.
    pixels = np.array([[[0], [90], [240]]], np.uint8)
    pixels = np.repeat(pixels, 3, axis=0)
    found = small_image(pixels, 2)[..., 0]
    expected = [(0 + 45) / 1.5, (45 + 240) / 1.5]
    assert found == pytest.approx(np.array([expected, expected]))


@pytest.mark.parametrize("size", [(7, 90), (32, 32), (31, 33), (1000, 20)])
def test_small_image_keeps_the_mean(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.doctor.looks._FLOATS", 1000)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = small_image(pixels)
    assert found.mean((0, 1)) == pytest.approx(pixels.mean((0, 1)), abs=0.01)
    if size == (32, 32):
        assert found == pytest.approx(pixels.astype(float), abs=0.001)


@pytest.mark.parametrize("exif", range(1, 9))
def test_turned_as_pillow_turns_photos(exif: int) -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = exif
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert turned(pixels, exif).tolist() == expected.tolist()
