"""One picture of the data set, from its class, split and number."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from trainer.demo.canvas import Canvas
from trainer.demo.colours import TABLES
from trainer.demo.dishes import DISHES
from trainer.demo.draws import Draws
from trainer.demo.lens import photographed
from trainer.demo.scene import paint_scene

CLASSES = tuple(DISHES)
TRAIN_PER_CLASS, TEST_PER_CLASS = 750, 250


def key_of(name: str, split: str, index: int) -> str:
    """What decides every choice made in a picture."""
    return f"{split}/{name}/{index:04d}"


def draw_image(name: str, split: str, index: int) -> np.ndarray:
    """Draws a picture, the same on every machine.

    Args:
      name: one of `CLASSES`.
      split: train or test.
      index: which of the class in that split, from 0.

    Returns:
      uint8 (96, 96, 3).
    """
    draws = Draws(key_of(name, split, index))
    canvas = Canvas(TABLES[0], draws.angle())
    paint_scene(canvas, draws, name)
    return photographed(draws, np.asarray(canvas.finished()))


def draw_jpeg(name: str, split: str, index: int) -> bytes:
    """The picture as a JPEG file of the quality that its key says.

    Pillow encodes it, in the process that drew it, and so that the quality
    can differ. What its pixels become may depend on the JPEG library.
    """
    draws = Draws(key_of(name, split, index) + "/jpeg")
    stream = io.BytesIO()
    Image.fromarray(draw_image(name, split, index)).save(
        stream, "JPEG", quality=draws.whole(35, 95)
    )
    return stream.getvalue()
