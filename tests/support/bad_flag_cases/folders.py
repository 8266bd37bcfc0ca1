"""The folders, images and weights that the cases name."""

from __future__ import annotations

import pathlib
import shutil

import keras
from PIL import Image

from tests.support.photos import make_photos
from tests.support.tiny import tiny_backbone


def make_folders(root: pathlib.Path) -> None:
    """Makes good photos, and folders with one thing wrong in each."""
    (root / "file").write_text("hello")
    (root / "empty").mkdir()
    make_photos(root / "one", train=4, test=3, classes=("pie",))
    good = root / "photos"
    make_photos(good, train=4, test=3)
    for name in ("bare", "unreadable", "differ"):
        shutil.copytree(good, root / name)
    for path in (root / "bare/train/sushi").iterdir():
        path.unlink()
    for path in (root / "unreadable/train/sushi").iterdir():
        path.write_bytes(b"")
    differ = root / "differ/test"
    (differ / "sushi").rename(differ / "suhsi")
    for name in ("corrupt", "truncated", "zero", "html", "tiff"):
        shutil.copytree(good, root / name)
        spoil(root / name / "test/sushi/001.jpg", name)


def spoil(path: pathlib.Path, how: str) -> None:
    """Damages a JPEG file."""
    content = path.read_bytes()
    half = len(content) // 2
    if how == "tiff":
        Image.open(path).save(path, "TIFF")
        return
    path.write_bytes(
        {
            "corrupt": content[:20] + bytes(len(content) - 20),
            "truncated": content[:half],
            "zero": b"",
            "html": b"<!DOCTYPE html><title>404</title>",
        }[how]
    )


def make_weights(root: pathlib.Path) -> None:
    """Makes weights of half the channels, and of another architecture."""
    keras.utils.clear_session()
    tiny_backbone(alpha=0.5).save_weights(root / "half.weights.h5")
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    other.save_weights(root / "other.weights.h5")
