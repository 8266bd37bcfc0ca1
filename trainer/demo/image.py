"""Draws one image of the data set from its class, split and number."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from trainer.demo.dishes import DISHES
from trainer.demo.draws import Draws
from trainer.demo.lens import photographed
from trainer.demo.painter import Painter
from trainer.demo.scene import paint_scene

CLASSES = tuple(DISHES)
TRAIN_PER_CLASS, TEST_PER_CLASS = 750, 250


def draw_image(name: str, split: str, index: int) -> np.ndarray:
    """Draws an image, identical on every machine.

    Args:
      name: one of `CLASSES`.
      split: train or test.
      index: number of the image in its class and split, from 0.

    Returns:
      uint8 (96, 96, 3).
    """
    painter = Painter(_key(name, split, index))
    paint_scene(painter, name)
    return photographed(painter, np.asarray(painter.finished()))


def draw_jpeg(name: str, split: str, index: int) -> bytes:
    """Returns the image as a JPEG file; its key decides the quality.

    The decoded pixels may depend on the JPEG library.
    """
    quality = Draws(_key(name, split, index) + "/jpeg").whole(35, 95)
    image = Image.fromarray(draw_image(name, split, index))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _key(name: str, split: str, index: int) -> str:
    return f"{split}/{name}/{index:04d}"
