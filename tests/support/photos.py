"""A folder of small images whose classes can be learned."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

CLASSES = ("apple pie", "борщ", "sushi")
_TINTS = ((200, 60, 60), (60, 180, 60), (60, 60, 200))


def make_photos(
    root: pathlib.Path,
    *,
    train: int = 8,
    test: int = 5,
    px: int = 40,
    classes: tuple[str, ...] = CLASSES,
) -> str:
    """Writes train/CLASS/*.jpg and test/CLASS/*.jpg; returns the folder."""
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                rng = np.random.default_rng([label, i, len(split)])
                tint = np.array(_TINTS[label % 3]) * rng.uniform(0.7, 1.2)
                noise = rng.normal(0, 40, (px // 4, px // 4, 3))
                pixels = tint + np.kron(noise, np.ones((4, 4, 1)))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
                    folder / f"{i:03}.jpg", quality=92
                )
    return str(root)
