"""Operations on colours, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from trainer.data.colours import OPERATIONS, recolour

NAMES = [function.__name__ for function in OPERATIONS]
RNG = np.random.default_rng(0)
IMAGES = {
    "noise": RNG.integers(0, 256, (24, 20, 3), np.uint8),
    "dim": RNG.integers(40, 120, (24, 20, 3), np.uint8),
    "uniform": np.full((24, 20, 3), 77, np.uint8),
    "two levels": RNG.choice(np.uint8([10, 200]), (24, 20, 3)),
}
PILLOW = {
    "identity": lambda image, x: image,
    "brightness": lambda image, x: ImageEnhance.Brightness(image).enhance(x),
    "colour": lambda image, x: ImageEnhance.Color(image).enhance(x),
    "contrast": lambda image, x: ImageEnhance.Contrast(image).enhance(x),
    "sharpness": lambda image, x: ImageEnhance.Sharpness(image).enhance(x),
    "posterize": lambda image, x: ImageOps.posterize(image, int(x)),
    "solarize": lambda image, x: ImageOps.solarize(image, x),
    "autocontrast": lambda image, x: ImageOps.autocontrast(image),
    "equalize": lambda image, x: ImageOps.equalize(image),
}
STRENGTHS = {"posterize": (2, 5, 8), "solarize": (0, 100, 256)}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_that_of_pillow(name, image):
    pixels = IMAGES[image]
    for strength in STRENGTHS.get(name, (0.01, 0.6, 1.0, 1.99)):
        expected = PILLOW[name](Image.fromarray(pixels), strength)
        found = recolour(
            tf.constant(pixels[None], tf.float32),
            tf.constant([NAMES.index(name)]),
            tf.constant([strength], tf.float32),
        )[0]
        difference = found.numpy() - np.asarray(expected, np.float32)
        # Pillow rounds the grey and the smoothed image, too.
        twice = name in ("colour", "contrast", "sharpness")
        bound = 2 if twice else 1
        assert np.abs(difference).max() <= bound, strength


def test_each_image_gets_its_own_operation():
    images = tf.constant(np.stack(list(IMAGES.values())), tf.float32)
    operations = [NAMES.index(n) for n in ("identity", "solarize")] * 2
    found = recolour(
        images, tf.constant(operations), tf.constant([1.0, 0.0, 1.0, 0.0])
    )
    np.testing.assert_array_equal(found[0], images[0])
    np.testing.assert_array_equal(found[1], 255 - images[1])
    np.testing.assert_array_equal(found[2], images[2])
    np.testing.assert_array_equal(found[3], 255 - images[3])
