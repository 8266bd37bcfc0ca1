"""Flags of the way from an encoded image to pixels.

Of each case, the embedded folder has two images that show the same with the
flag.
"""

from __future__ import annotations

import functools
import pathlib

import numpy as np
from PIL import Image

from tests.support.encoders import exif, png_of
from tests.support.flag_cases.case import Case
from tests.support.flag_cases.commands import Ran

_PX = 32


def make_pairs(root: pathlib.Path) -> None:
    """Writes pairs/FLAG-{a,b}.png."""
    noise = np.random.default_rng(3).integers(0, 256, (_PX, 64, 3), np.uint8)
    square = noise[:, 16:48]
    clear = Image.fromarray(np.dstack([square, np.zeros((_PX, _PX), np.uint8)]))
    white = np.full((_PX, _PX, 3), 255, np.uint8)
    (root / "pairs").mkdir()
    # Orientation 6 is stored a quarter turn to the left.
    (root / "pairs/exif-a.png").write_bytes(png_of(square))
    (root / "pairs/exif-b.png").write_bytes(
        png_of(np.rot90(square), chunks=[(b"eXIf", exif(6))])
    )
    clear.save(root / "pairs/background-a.png")
    (root / "pairs/background-b.png").write_bytes(png_of(white))
    (root / "pairs/resize-a.png").write_bytes(png_of(noise))
    (root / "pairs/resize-b.png").write_bytes(png_of(square))


def _same_features(ran: Ran, flag: str) -> bool:
    with np.load(f"{ran.own}.npz") as found:
        first, second = (
            row
            for path, row in zip(found["paths"], found["features"], strict=True)
            if pathlib.Path(str(path)).name.startswith(flag)
        )
    return np.allclose(first, second, atol=1e-6)


IMAGES = tuple(
    Case(
        flag=flag,
        value=value,
        also={
            "stage": "embed",
            "inputs": "{root}/pairs",
            "backbone": "MobileNetV2",
            "weights": "none",
            "image_size": _PX,
            "output": "{own}.npz",
        },
        alone=True,
        see=functools.partial(_same_features, flag=flag),
        without=False,
        given=True,
        together="images",
    )
    for flag, value in (
        ("exif", "apply"),
        ("background", "white"),
        ("resize", "crop"),
    )
)
