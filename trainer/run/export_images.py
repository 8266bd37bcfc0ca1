"""The images on which an export is compared with this trainer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.check import read_encoded_image
from trainer.errors import TrainerError
from trainer.run.prepare import read_manifest
from trainer.run.trained import Trained, with_data
from trainer.workdir import MANIFEST

_COMPARED_IMAGES = 32
_GENERATED_IMAGES = 8


def images_to_compare(trained: Trained, given: frozenset[str]) -> list[bytes]:
    """Returns encoded images of the final split, for comparing an export.

    If the run's dataset is missing, it prints a warning and returns generated
    images, because an export needs no photos.
    """
    try:
        trained = with_data(trained, given)
        stored = trained.workdir.read_json(MANIFEST)
        final = read_manifest(trained.run, stored).final
    except TrainerError as error:
        if "dataset" in given:
            raise
        trained.workdir.warn(
            "the run's images cannot be read, so the export is compared on"
            f" {_GENERATED_IMAGES} generated ones ({error})"
        )
        return _generated_images(trained.classifier.image_px)
    # Spread over the classes, because samples are sorted by class.
    step = max(1, len(final) // _COMPARED_IMAGES)
    rows = range(0, len(final), step)[:_COMPARED_IMAGES]
    found = (read_encoded_image(final, row) for row in rows)
    return [image for image in found if image is not None]


def _generated_images(image_px: int) -> list[bytes]:
    """Returns encoded PNG images of smooth random colours, always the same."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (_GENERATED_IMAGES, 4, 4, 3))
    images = tf.image.resize(coarse.astype(np.float32), (image_px, image_px))
    return [
        tf.io.encode_png(image).numpy()
        for image in tf.cast(tf.round(images), tf.uint8)
    ]
