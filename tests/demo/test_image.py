"""Images are reproducible, and colour alone does not give the class."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from trainer.data.tfds_names import FOOD10_CLASSES
from trainer.demo.image import CLASSES, draw_image, draw_jpeg

# blake2b of the pixels before JPEG; two images per class.
HASHES = {
    "chicken_curry": ("d7419e890f4ba146", "1c384d050dc071e4"),
    "chicken_wings": ("684dd271f888fefc", "ac7042fbbc60dff2"),
    "fried_rice": ("70853aad94c9d7ce", "b2aed28974d92449"),
    "grilled_salmon": ("65c23d3417875913", "7bca1ff545cb3423"),
    "hamburger": ("c3854c78cbf62053", "47c06b325a435998"),
    "ice_cream": ("15cdde57ec17f0da", "6c03bf02e3d30f3d"),
    "pizza": ("123482323f36920a", "b7011d1a9bdc4db7"),
    "ramen": ("91ad65356b9b0c8a", "293df9a88720183e"),
    "steak": ("a55ccf1dcb33c1c7", "93248b20108547b6"),
    "sushi": ("d4ad45d4106c1159", "8792dda71275dc0d"),
}


def _digest(name: str, split: str, index: int) -> str:
    pixels = draw_image(name, split, index)
    return hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", CLASSES)
def test_pixels_are_the_same_on_every_machine(name: str) -> None:
    found = (_digest(name, "train", 0), _digest(name, "test", 249))
    assert found == HASHES[name]


def test_classes_are_those_of_the_reference_in_order() -> None:
    assert CLASSES == FOOD10_CLASSES


def test_class_split_and_number_determine_the_image() -> None:
    keys = [
        (name, split, index)
        for name in ("pizza", "steak")
        for split in ("train", "test")
        for index in (0, 1)
    ]
    first = [draw_image(*key) for key in keys]
    again = [draw_image(*key) for key in reversed(keys)][::-1]
    for one, other in zip(first, again, strict=True):
        assert one.shape == (96, 96, 3)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
    assert len({pixels.tobytes() for pixels in first}) == len(keys)


@pytest.mark.slow
def test_the_jpeg_holds_the_image() -> None:
    for index in range(5):
        pixels = draw_image("sushi", "train", index).astype(int)
        stream = io.BytesIO(draw_jpeg("sushi", "train", index))
        with Image.open(stream) as image:
            assert image.format == "JPEG"
            decoded = np.asarray(image, dtype=int)
        assert decoded.shape == pixels.shape
        assert np.abs(decoded - pixels).mean() < 12


@pytest.mark.slow
def test_the_mean_colour_does_not_give_the_class() -> None:
    def means(split: str, count: int) -> np.ndarray:
        return np.array(
            [
                [draw_image(n, split, i).mean((0, 1)) for i in range(count)]
                for n in CLASSES
            ]
        )

    centres = means("train", 60).mean(1)
    test = means("test", 30)
    distance = np.linalg.norm(test[:, :, None] - centres, axis=-1)
    right = distance.argmin(-1) == np.arange(len(CLASSES))[:, None]
    assert right.mean() < 0.4
    assert right.mean(1).max() < 0.7


def _imported(statement: str, prefix: str) -> str:
    """Returns the modules with this prefix that a statement imports."""
    code = f"import sys, {statement};"
    code += f"print([m for m in sys.modules if m.startswith({prefix!r})])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_drawing_needs_no_tensorflow() -> None:
    """With TensorFlow, worker processes would take seconds to start."""
    assert _imported("trainer.demo.image", "tensorflow") == "[]"


@pytest.mark.slow
def test_other_data_does_not_import_the_demo() -> None:
    modules = "trainer.run.training, trainer.data.sources"
    assert _imported(modules, "trainer.demo") == "[]"
