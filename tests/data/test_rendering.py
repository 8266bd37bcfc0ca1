"""Decoded square images for each `--exif`, `--background` and `--resize`."""

from __future__ import annotations

import functools
import io
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.corpus import GOOD
from tests.support.encoders import exif, png_of, with_exif
from trainer.data.decode import decode_image
from trainer.data.headers import UPRIGHT
from trainer.data.rendering import (
    PLAIN,
    Rendering,
    fit,
    render,
    turn_upright,
)

RNG = np.random.default_rng(7)
PHOTO = RNG.integers(0, 256, (24, 40, 3), np.uint8)
WHITE = (255, 255, 255)
# Orientation -> a 2 x 3 image as it is stored, if abc/def is displayed.
STORED = {
    1: ["abc", "def"],
    2: ["cba", "fed"],
    3: ["fed", "cba"],
    4: ["def", "abc"],
    5: ["ad", "be", "cf"],
    6: ["cf", "be", "ad"],
    7: ["fc", "eb", "da"],
    8: ["da", "eb", "fc"],
}


def stored(displayed: np.ndarray, number: int) -> np.ndarray:
    """Returns the pixels that a camera stores with an orientation."""
    exchanged = displayed.transpose(1, 0, 2)
    return {
        1: displayed,
        2: displayed[:, ::-1],
        3: displayed[::-1, ::-1],
        4: displayed[::-1],
        5: exchanged,
        6: exchanged[::-1],
        7: exchanged[::-1, ::-1],
        8: exchanged[:, ::-1],
    }[number]


@pytest.mark.parametrize("number", STORED)
def test_orientations_are_those_of_the_standard(number: int) -> None:
    letters = np.array([[ord(c) for c in row] for row in STORED[number]])
    image = np.repeat(letters[..., None], 3, axis=-1).astype(np.uint8)
    found = turn_upright(tf.constant(image), tf.constant(number)).numpy()
    shown = ["".join(map(chr, row)) for row in found[..., 0]]
    assert shown == ["abc", "def"]
    np.testing.assert_array_equal(stored(found, number), image)


def eager(encoded: tf.Tensor, rendering: Rendering) -> tf.Tensor:
    return render(encoded, 16, rendering)


@functools.cache
def graph_of(rendering: Rendering) -> Any:
    spec = tf.TensorSpec((), tf.string)
    return tf.function(
        lambda encoded: eager(encoded, rendering), input_signature=[spec]
    )


def graph(encoded: tf.Tensor, rendering: Rendering) -> tf.Tensor:
    return graph_of(rendering)(encoded)


def test_nothing_is_transposed() -> None:
    """TensorFlow would log an error for integers on some processors."""
    traced = graph_of(Rendering(exif=True, background=WHITE))
    graph_def = traced.get_concrete_function().graph.as_graph_def()
    nodes = [*graph_def.node]
    nodes += [n for f in graph_def.library.function for n in f.node_def]
    operations = {node.op for node in nodes}
    assert "ReverseV2" in operations
    assert "Transpose" not in operations


def lossless_webp(pixels: np.ndarray, data: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(
        stream, "WEBP", lossless=True, exact=True, exif=data
    )
    return stream.getvalue()


def flat_jpeg(pixels: np.ndarray) -> bytes:
    return tf.io.encode_jpeg(
        pixels, quality=100, chroma_downsampling=False
    ).numpy()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("image_format", ["PNG", "WebP", "JPEG"])
@pytest.mark.parametrize("run", [eager, graph])
def test_eight_encodings_give_the_same_pixels(
    image_format: str,
    resize: str,
    run: Callable[[tf.Tensor, Rendering], tf.Tensor],
) -> None:
    # JPEG keeps blocks of one colour whichever way they are turned.
    photo = PHOTO
    if image_format == "JPEG":
        blocks = RNG.integers(0, 256, (3, 5, 3), np.uint8)
        photo = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    rendering = Rendering(exif=True, resize=resize)
    found = []
    for number in range(1, 9):
        data, pixels = exif(number), stored(photo, number)
        encoded = {
            "PNG": lambda p=pixels, d=data: png_of(p, chunks=[(b"eXIf", d)]),
            "WebP": lambda p=pixels, d=data: lossless_webp(p, d),
            "JPEG": lambda p=pixels, d=data: with_exif(flat_jpeg(p), d),
        }[image_format]()
        found.append(run(tf.constant(encoded), rendering))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    upright = png_of(photo) if image_format != "JPEG" else flat_jpeg(photo)
    np.testing.assert_array_equal(
        found[0], eager(tf.constant(upright), Rendering(resize=resize))
    )


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_the_defaults_are_those_of_earlier_versions(name: str) -> None:
    encoded = tf.constant(GOOD[name].encoded)
    before = tf.round(
        tf.cast(tf.image.resize(decode_image(encoded), (24, 24)), tf.float32)
    )
    np.testing.assert_array_equal(render(encoded, 24), before)
    np.testing.assert_array_equal(render(encoded, 24, checked=False), before)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, good in GOOD.items()
        if good.orientation == UPRIGHT
        and name not in ("alpha.png", "alpha.webp", "transparent_palette.png")
    ],
    ids=ascii,
)
def test_opaque_images_are_the_same_in_every_rendering(name: str) -> None:
    encoded = tf.constant(GOOD[name].encoded)
    every = Rendering(exif=True, background=WHITE)
    np.testing.assert_array_equal(
        render(encoded, 24, every), render(encoded, 24)
    )


def pil(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def transparent_images() -> dict[str, tuple[bytes, np.ndarray, np.ndarray]]:
    """Returns name -> encoded image, its RGB pixels, and its alpha."""
    alpha = RNG.integers(0, 256, (24, 40), np.uint8)
    rgba = Image.fromarray(np.dstack([PHOTO, alpha]))
    grey = PHOTO[..., 0]
    grey_rgb = np.repeat(grey[..., None], 3, axis=-1)
    grey_alpha = Image.merge(
        "LA", (Image.fromarray(grey), Image.fromarray(alpha))
    )
    palette = Image.fromarray(PHOTO).quantize(200)
    indices = np.asarray(palette)
    levels = RNG.integers(0, 256, 256).astype(np.uint8)
    few = Image.fromarray((grey > 128).astype(np.uint8)).copy()
    few.putpalette([250, 10, 20, 30, 240, 50])
    bits = np.asarray(few)
    key = tuple(int(x) for x in PHOTO[3, 4])
    return {
        "png": (pil(rgba, "PNG"), PHOTO, alpha),
        "grey png": (pil(grey_alpha, "PNG"), grey_rgb, alpha),
        "palette png": (
            pil(palette, "PNG", transparency=levels.tobytes()),
            np.asarray(palette.convert("RGB")),
            levels[indices],
        ),
        "one-bit palette png": (
            pil(few, "PNG", transparency=bytes([9, 200]), bits=1),
            np.asarray(few.convert("RGB")),
            np.array([9, 200], np.uint8)[bits],
        ),
        "one-colour png": (
            pil(Image.fromarray(PHOTO), "PNG", transparency=key),
            PHOTO,
            np.where((key == PHOTO).all(-1), 0, 255).astype(np.uint8),
        ),
        "webp": (
            pil(rgba, "WEBP", lossless=True, exact=True),
            PHOTO,
            alpha,
        ),
    }


TRANSPARENT = transparent_images()


@pytest.mark.parametrize("colour", [WHITE, (0, 0, 0), (10, 200, 77)])
@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_images_are_laid_on_the_background(
    name: str, colour: tuple[int, int, int]
) -> None:
    encoded, pixels, alpha = TRANSPARENT[name]
    part = alpha[..., None].astype(np.float64) / 255
    # No mixture is halfway between two numbers, because 255 is odd.
    expected = np.rint(pixels * part + np.array(colour) * (1 - part))
    found = decode_image(tf.constant(encoded), colour).numpy()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(decode_image(tf.constant(encoded)), pixels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_an_opaque_image_of_few_bits_stays(bits: int) -> None:
    image = Image.fromarray(PHOTO).quantize(2**bits)
    encoded = pil(image, "PNG", bits=bits)
    np.testing.assert_array_equal(
        decode_image(tf.constant(encoded), WHITE), image.convert("RGB")
    )


@pytest.mark.parametrize("size", [(24, 40), (41, 24), (7, 8), (16, 16)])
def test_crop_is_that_of_keras(
    tmp_path: pathlib.Path, size: tuple[int, int]
) -> None:
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png_of(image))
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path,
        image_size=(16, 16),
        crop_to_aspect_ratio=True,
        batch_size=None,
        verbose=False,
    )
    expected = np.round(next(iter(dataset))[0].numpy())
    found = fit(tf.constant(image), 16, Rendering(resize="crop"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("size", "top", "left", "height", "width"),
    [
        ((20, 40), 4, 0, 8, 16),
        ((40, 20), 0, 4, 16, 8),
        # 16 * 3 / 10 = 4.8 rows, rounded down; 6 above and 6 below.
        ((3, 10), 6, 0, 4, 16),
        # 16 * 5 / 16 = 5 rows; 5 above and 6 below.
        ((5, 16), 5, 0, 5, 16),
        # At least one row; 7 above and 8 below.
        ((1, 1_000), 7, 0, 1, 16),
        ((9, 9), 0, 0, 16, 16),
    ],
)
@pytest.mark.parametrize("colour", [None, (10, 200, 77)])
def test_pad_keeps_the_aspect_ratio(
    size: tuple[int, int],
    top: int,
    left: int,
    height: int,
    width: int,
    colour: tuple[int, int, int] | None,
) -> None:
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    found = fit(
        tf.constant(image), 16, Rendering(resize="pad", background=colour)
    )
    expected = np.empty((16, 16, 3), np.float32)
    expected[:] = colour or (0, 0, 0)
    expected[top : top + height, left : left + width] = tf.round(
        tf.cast(tf.image.resize(image, (height, width)), tf.float32)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_batch_of_floats_gives_the_same_pixels(resize: str) -> None:
    images = RNG.integers(0, 256, (3, 24, 40, 3)).astype(np.float32)
    rendering = Rendering(resize=resize, background=(1, 2, 3))
    spec = tf.TensorSpec((None, None, None, 3))
    batch = tf.function(
        lambda x: fit(x, 16, rendering), input_signature=[spec]
    )(images)
    for found, image in zip(batch, images, strict=True):
        alone = fit(tf.constant(image.astype(np.uint8)), 16, rendering)
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_an_extreme_image_takes_little_memory(resize: str) -> None:
    image = tf.zeros((1, 3_000_000, 3), tf.uint8)
    found = fit(image, 16, Rendering(resize=resize, background=WHITE))
    # One row of the image, or the only pixel that is cropped.
    black = 16 if resize == "pad" else 256
    assert int(tf.reduce_sum(tf.cast(found == 0, tf.int32))) == 3 * black


def test_cache_keys_never_mix_renderings() -> None:
    every = [
        Rendering(exif=turned, background=colour, resize=resize)
        for turned, colour, resize in itertools.product(
            (False, True),
            (None, WHITE, (0, 0, 0)),
            ("stretch", "crop", "pad"),
        )
    ]
    keys = {repr(rendering.key_fields()) for rendering in every}
    assert len(keys) == len(every)
    # The caches of earlier versions stay valid.
    assert PLAIN.key_fields() == {}
