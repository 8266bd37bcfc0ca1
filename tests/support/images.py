"""Writes images and folders of images for tests."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

CLASSES = ("apple pie", "sushi", "борщ")
_TINTS = ((200, 60, 60), (60, 180, 60), (60, 60, 200), (190, 180, 50))


def write_image(
    path: pathlib.Path,
    *,
    class_index: int = 0,
    size: tuple[int, int] = (24, 20),
    format: str = "JPEG",
    mode: str = "RGB",
    seed: int = 0,
) -> pathlib.Path:
    """Writes an image whose colour shows its class.

    Args:
      path: of the file; missing folders are created. The suffix need not match
        the format.
      class_index: decides the tint.
      size: width and height.
      format: JPEG, PNG, BMP, GIF, WEBP, TIFF.
      mode: mode of Pillow: RGB, L, RGBA, CMYK, P, ...
      seed: seed of the noise over the tint.

    Returns:
      The path.
    """
    rng = np.random.default_rng([class_index, seed])
    width, height = size
    tint = np.array(_TINTS[class_index % 4]) * rng.uniform(0.7, 1.2)
    noise = rng.normal(0, 30, (-(-height // 4), -(-width // 4), 3))
    blocks = np.kron(noise, np.ones((4, 4, 1)))[:height, :width]
    pixels = np.clip(tint + blocks, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, format=format)
    return path


def make_folder(
    root: pathlib.Path,
    layout: Mapping[str, int] | None = None,
    *,
    classes: Sequence[str] = CLASSES,
) -> str:
    """Writes SPLIT/CLASS/000.jpg, SPLIT/CLASS/001.jpg and so on.

    Args:
      root: folder of the data set.
      layout: split -> images per class; six in train and four in test if not
        given; the split '' is the root itself.
      classes: names of the class folders.

    Returns:
      The folder, for `--dataset`.
    """
    for number, (split, count) in enumerate(
        (layout or {"train": 6, "test": 4}).items()
    ):
        for label, name in enumerate(classes):
            for i in range(count):
                write_image(
                    root / split / name / f"{i:03}.jpg",
                    class_index=label,
                    seed=1000 * number + i,
                )
    return str(root)
