"""The images on which an export is compared with this trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.check import read_encoded_image
from trainer.data.manifest import Manifest
from trainer.data.rendering import Rendering, traced_render
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.run.prepare import read_manifest
from trainer.run.trained import Trained, with_data
from trainer.workdir import MANIFEST

_COMPARED_IMAGES = 32
_GENERATED_IMAGES = 8
# Every format is run on at most this many images, and on fewer if they are
# larger than 224 px, so that an export takes a minute longer, not ten.
_MOST_IMAGES, _MOST_PIXELS = 500, 500 * 224**2
_CALIBRATION_IMAGES = 128


class Rendered(NamedTuple):
    """Images of a split, as the models take them.

    Attributes:
      pixels: uint8 (n, px, px, 3).
      labels: of the images; see `Samples`.
    """

    pixels: np.ndarray
    labels: np.ndarray


def find_images(trained: Trained, given: frozenset[str]) -> Manifest | None:
    """Returns the samples of the run.

    If its dataset is missing, it prints a warning and returns None, because an
    export needs no photos.
    """
    try:
        trained = with_data(trained, given)
        stored = trained.workdir.read_json(MANIFEST)
        return read_manifest(trained.run, stored)
    except TrainerError as error:
        if "dataset" in given:
            raise
        trained.workdir.warn(
            "the run's images cannot be read, so the export is compared on"
            f" {_GENERATED_IMAGES} generated ones ({error})"
        )
        return None


def images_to_compare(final: Samples | None, image_px: int) -> list[bytes]:
    """Returns encoded images of the final split; generated ones without it."""
    if final is None:
        return _generated_images(image_px)
    return [image for _, image in _encoded(final, _COMPARED_IMAGES)]


def images_to_measure(
    final: Samples, image_px: int, rendering: Rendering
) -> Rendered:
    """Returns images of the final split, spread over its classes."""
    most = min(_MOST_IMAGES, max(_MOST_PIXELS // image_px**2, _COMPARED_IMAGES))
    return _rendered(final, most, image_px, rendering)


def calibration_images(
    train: Samples, image_px: int, rendering: Rendering
) -> np.ndarray:
    """Returns training images for int8, always the same: uint8."""
    return _rendered(train, _CALIBRATION_IMAGES, image_px, rendering).pixels


def generated_images(image_px: int) -> np.ndarray:
    """Returns the generated images, uint8 (n, px, px, 3)."""
    images = map(tf.io.decode_png, _generated_images(image_px))
    return np.stack([image.numpy() for image in images])


def _rendered(
    samples: Samples, most: int, image_px: int, rendering: Rendering
) -> Rendered:
    render = traced_render(image_px, rendering)
    rows, pixels = [], []
    for row, encoded in _encoded(samples, most):
        rows.append(row)
        # Rendered pixels are whole numbers.
        image = render(tf.constant(encoded))
        pixels.append(tf.cast(image, tf.uint8).numpy())
    return Rendered(np.stack(pixels), samples.labels[rows])


def _encoded(samples: Samples, most: int) -> Iterator[tuple[int, bytes]]:
    """Yields rows and encoded images, evenly spread over the samples.

    Samples are sorted by class, so the classes keep their shares.
    """
    rows = spread_rows(len(samples), most)
    for row in rows:
        image = read_encoded_image(samples, row)
        if image is not None:
            yield row, image


def spread_rows(total: int, most: int) -> list[int]:
    """Returns up to `most` of `total` rows, evenly spread."""
    count = min(total, most)
    return [number * total // count for number in range(count)]


def _generated_images(image_px: int) -> list[bytes]:
    """Returns encoded PNG images of smooth random colours, always the same."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (_GENERATED_IMAGES, 4, 4, 3))
    images = tf.image.resize(coarse.astype(np.float32), (image_px, image_px))
    return [
        tf.io.encode_png(image).numpy()
        for image in tf.cast(tf.round(images), tf.uint8)
    ]
