"""Benchmarks, and the selection of photos that both sides train on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from trainer.errors import TrainerError

__all__ = [
    "choose_photos",
    "class_names",
    "draw_subset",
    "link_photos",
    "read_list",
]

_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png"))


def class_names(train: Path) -> list[str]:
    """Returns the names of the folders in `train`, sorted."""
    folders = [path for path in train.iterdir() if path.is_dir()]
    return sorted(f.name for f in folders if not f.name.startswith("."))


def draw_subset(train: Path, pct: float, seed: int) -> list[str]:
    """Draws a stratified random subset of the photos below `train`.

    For the same seed, a smaller subset is part of a larger one.

    Returns:
      "CLASS/NAME" of max(1, floor(n * pct / 100)) photos of each class.
    """
    lines = []
    for name in class_names(train):
        photos = sorted(
            path.relative_to(train).as_posix()
            for path in (train / name).rglob("*")
            if path.suffix.lower() in _SUFFIXES
        )
        random.Random(f"{seed} {name}").shuffle(photos)
        count = math.floor(len(photos) * Decimal(str(pct)) / 100)
        lines += photos[: max(1, count)]
    return lines


def read_list(file: Path, train: Path) -> list[str]:
    """Reads a list of photos, one "CLASS/NAME" below `train` per line.

    Raises:
      TrainerError: a photo does not exist, or a class has no photo.
    """
    lines = [line for line in file.read_text("utf-8").splitlines() if line]
    for line in lines:
        if not (train / line).is_file():
            raise TrainerError(
                f"{str(file)!r}: {line!r} is not a file below {str(train)!r};"
                " give lines such as CLASS/NAME.jpg"
            )
    missing = set(class_names(train)) - {line.split("/")[0] for line in lines}
    if missing:
        raise TrainerError(
            f"{str(file)!r}: no photo of class {min(missing)!r}; name at least"
            " one of each class"
        )
    return lines


def choose_photos(
    train: Path, file: Path | None, pct: float, seed: int
) -> list[str]:
    """Returns the photos listed in a file if given, else a random subset."""
    return read_list(file, train) if file else draw_subset(train, pct, seed)


def link_photos(train: Path, lines: Sequence[str], folder: Path) -> Path:
    """Makes a folder with the class layout of `train` and links to photos.

    Args:
      train: folder of the photos.
      lines: "CLASS/NAME" of the photos to link to.
      folder: the folder to make.

    Returns:
      `folder`.
    """
    for line in lines:
        link = folder / line
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((train / line).resolve())
    return folder
