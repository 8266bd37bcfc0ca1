"""A table of small images with several labels, which can be learned."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

LABELS = ("blue", "green", "night scene", "red")
_CHANNELS = {"red": 0, "green": 1, "blue": 2}


def make_label_table(
    folder: pathlib.Path, *, count: int = 48, px: int = 40, group: int = 0
) -> str:
    """Writes images and labels.csv; returns its path.

    Each label brightens a channel, or darkens the image. Some images have no
    label.

    Args:
      folder: to create.
      count: number of images.
      px: side of the images.
      group: images per group; 0 without groups.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["path,label,group"]
    for number in range(count):
        has = rng.uniform(size=len(LABELS)) < (0.4, 0.4, 0.2, 0.5)
        labels = [name for name, h in zip(LABELS, has, strict=True) if h]
        tint = np.full(3, 50.0)
        for label in labels:
            if label in _CHANNELS:
                tint[_CHANNELS[label]] += 130
        if "night scene" in labels:
            tint *= 0.3
        noise = rng.normal(0, 20, (px // 4, px // 4, 3))
        pixels = tint + np.kron(noise, np.ones((4, 4, 1)))
        name = f"{number:03}.png"
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        image.save(folder / name)
        in_group = f"g{number // group}" if group else ""
        rows.append(f"{name},{'|'.join(labels)},{in_group}")
    path = folder / "labels.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)
