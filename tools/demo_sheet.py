"""Writes a sheet of demo images, one row a class, to be looked at.

python tools/demo_sheet.py /tmp/sheet.png 12
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from trainer.demo.image import CLASSES, draw_image


def sheet(per_class: int, split: str = "train", first: int = 0) -> np.ndarray:
    """uint8 (rows, columns, 3): a row a class, in the order of the labels."""
    rows = [
        np.concatenate(
            [draw_image(name, split, first + i) for i in range(per_class)], 1
        )
        for name in CLASSES
    ]
    return np.concatenate(rows)


def main(argv: list[str]) -> None:
    """Takes the file to write, the number a class and the first of them."""
    path = argv[1]
    per_class = int(argv[2]) if len(argv) > 2 else 12
    first = int(argv[3]) if len(argv) > 3 else 0
    Image.fromarray(sheet(per_class, first=first)).save(path)
    print(f"{path}: {per_class} of each, from above: {', '.join(CLASSES)}")


if __name__ == "__main__":
    main(sys.argv)
