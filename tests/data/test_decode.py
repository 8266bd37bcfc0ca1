"""Decoding compared with Pillow and Keras, and reading of records."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer.data.decode import (
    decode_image,
    image_of_record,
    read_record,
)
from trainer.data.rendering import render

# An odd width, so that the rows of a BMP are padded.
HEIGHT, WIDTH = 6, 9
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
GREY_RGB = np.repeat(GREY[..., None], 3, axis=-1)
# Smooth, so that JPEG loses little.
RAMP = np.stack(
    np.broadcast_arrays(
        np.linspace(20, 200, WIDTH)[None, :],
        np.linspace(200, 60, HEIGHT)[:, None],
        np.full((1, 1), 90.0),
    ),
    axis=-1,
).astype(np.uint8)


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Returns an image as Pillow encodes it."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def palette_image(colours: int) -> tuple[Image.Image, np.ndarray]:
    """Returns an image with a coloured palette, and its pixels."""
    palette = RNG.integers(0, 256, (colours, 3), np.uint8)
    indices = RNG.integers(0, colours, (HEIGHT, WIDTH), np.uint8)
    image = Image.fromarray(indices).copy()
    image.putpalette(palette.tobytes())
    return image, palette[indices]


def lossless_cases() -> dict[str, tuple[bytes, np.ndarray]]:
    """Returns name -> encoded image and its pixels."""
    rgb, grey = Image.fromarray(NOISE), Image.fromarray(GREY)
    rgba = Image.fromarray(np.dstack([NOISE, ALPHA]))
    grey_alpha = Image.merge("LA", (grey, Image.fromarray(ALPHA)))
    # The upper 8 of 16 bits are the image.
    deep = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
    few, few_pixels = palette_image(5)
    many, many_pixels = palette_image(256)
    black = Image.new("L", (WIDTH, HEIGHT))
    bits = GREY_RGB // 128 * 255
    return {
        "png": (encode(rgb, "PNG"), NOISE),
        "png_grey": (encode(grey, "PNG"), GREY_RGB),
        "png_grey_alpha": (encode(grey_alpha, "PNG"), GREY_RGB),
        "png_rgba": (encode(rgba, "PNG"), NOISE),
        "png_palette": (encode(few, "PNG"), few_pixels),
        "png_palette_transparent": (
            encode(few, "PNG", transparency=0),
            few_pixels,
        ),
        "png_16_bits": (encode(deep, "PNG"), GREY_RGB),
        "png_1_bit": (encode(Image.fromarray(bits).convert("1"), "PNG"), bits),
        "bmp_24": (encode(rgb, "BMP"), NOISE),
        "bmp_32": (encode(rgba, "BMP"), NOISE),
        "bmp_8_grey": (encode(grey, "BMP"), GREY_RGB),
        "bmp_8_palette": (encode(many, "BMP"), many_pixels),
        "bmp_8_short_palette": (encode(few, "BMP"), few_pixels),
        "gif": (encode(few, "GIF"), few_pixels),
        "gif_first_frame": (
            encode(grey, "GIF", save_all=True, append_images=[black, black]),
            GREY_RGB,
        ),
    }


LOSSLESS = lossless_cases()


@pytest.fixture(params=["eager", "graph"])
def decode(request: pytest.FixtureRequest) -> Callable[[bytes], np.ndarray]:
    """`decode_image`, run eagerly and as a graph."""
    function = decode_image
    if request.param == "graph":
        spec = tf.TensorSpec((), tf.string)
        function = tf.function(decode_image, input_signature=[spec])
    return lambda encoded: function(tf.constant(encoded)).numpy()


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_images_are_exact(
    name: str, decode: Callable[[bytes], np.ndarray]
) -> None:
    encoded, pixels = LOSSLESS[name]
    image = decode(encoded)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_close_to_pillow(
    mode: str, decode: Callable[[bytes], np.ndarray]
) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    encoded = encode(image, "JPEG", quality=100, subsampling=0)
    expected = np.array(image.convert("RGB"))
    difference = decode(encoded).astype(int) - expected
    # TensorFlow and Keras use the fast inverse transform by default.
    assert np.abs(difference).max() <= 10


BMP = LOSSLESS["bmp_8_palette"][0]
PNG = LOSSLESS["png"][0]


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html></html>", id="text"),
        pytest.param(PNG[: len(PNG) // 2], id="half_a_png"),
        pytest.param(BMP[: len(BMP) - 8], id="truncated_bmp"),
        pytest.param(b"BM", id="two_bytes_of_a_bmp"),
        pytest.param(
            encode(Image.fromarray(RAMP), "JPEG")[:-40], id="truncated_jpeg"
        ),
    ],
)
def test_decoding_anything_else_raises(
    encoded: bytes, decode: Callable[[bytes], np.ndarray]
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encoded)


def test_pixels_equal_rounded_image_dataset_from_directory(
    tmp_path: pathlib.Path,
) -> None:
    # Larger, smaller, of the same size, oblong, and one pixel.
    sizes = [(50, 31), (9, 12), (24, 24), (24, 70), (1, 1)]
    suffixes = ["jpg", "png", "bmp", "gif", "jpg"]
    (tmp_path / "a").mkdir()
    for i, (size, suffix) in enumerate(zip(sizes, suffixes, strict=True)):
        noise = RNG.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "a" / f"{i}.{suffix}")
    expected = keras.utils.image_dataset_from_directory(
        str(tmp_path),
        image_size=(24, 24),
        interpolation="bilinear",
        batch_size=None,
        shuffle=False,
        verbose=False,
    )
    files = sorted(str(path) for path in (tmp_path / "a").iterdir())
    ours = tf.data.Dataset.from_tensor_slices(files).map(
        lambda path: render(tf.io.read_file(path), 24)
    )
    for own, (image, _) in zip(ours, expected, strict=True):
        assert own.dtype == tf.float32
        np.testing.assert_array_equal(own.numpy(), np.rint(image.numpy()))


def example(**features: bytes) -> bytes:
    """Returns a serialised `tf.train.Example` of bytes features."""
    lists = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in features.items()
    }
    return tf.train.Example(
        features=tf.train.Features(feature=lists)
    ).SerializeToString()


def write_records(
    path: pathlib.Path, records: list[bytes]
) -> list[tuple[int, int]]:
    """Writes a TFRecord file; returns offset and length of each payload."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    content = path.read_bytes()
    return [(content.index(record), len(record)) for record in records]


def read_encoded(path: pathlib.Path, offset: int, length: int) -> tf.Tensor:
    record = read_record(
        tf.constant(str(path)),
        tf.constant(offset, tf.int64),
        tf.constant(length, tf.int64),
    ).get_single_element()
    return image_of_record(record, "image")


def test_records_are_read_in_any_order(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "shard"
    images = [b"first", b"the second", b""]
    places = write_records(
        path, [example(image=im, name=b"%d" % i) for i, im in enumerate(images)]
    )
    order = [2, 0, 1, 0]
    dataset = (
        tf.data.Dataset.from_tensor_slices(
            np.array([places[i] for i in order], np.int64)
        )
        .flat_map(lambda at: read_record(tf.constant(str(path)), at[0], at[1]))
        .map(lambda record: image_of_record(record, "image"))
    )
    assert list(dataset.as_numpy_iterator()) == [images[i] for i in order]


def test_reading_a_record_skips_all_before_it(
    tmp_path: pathlib.Path,
) -> None:
    payload = example(image=b"pixels")
    ((offset, length),) = write_records(tmp_path / "one", [payload])
    before = 5 * 2**30  # A hole; the offset exceeds 32 bits.
    path = tmp_path / "shard"
    with path.open("wb") as file:
        file.seek(before)
        file.write((tmp_path / "one").read_bytes())
    counter = pathlib.Path("/proc/self/io")

    def bytes_read() -> int:
        if not counter.exists():
            return 0
        return int(counter.read_text().split("rchar: ")[1].split()[0])

    begin = bytes_read()
    encoded = read_encoded(path, before + offset, length)
    assert encoded == b"pixels"
    assert bytes_read() - begin < 2**20


@pytest.mark.parametrize(
    ("key", "damage", "error"),
    [
        pytest.param(
            "photo", False, tf.errors.InvalidArgumentError, id="no_such_feature"
        ),
        pytest.param(
            "image", True, tf.errors.DataLossError, id="a_bit_flipped"
        ),
    ],
)
def test_a_bad_record_raises(
    key: str, damage: bool, error: type[Exception], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "shard"
    ((offset, length),) = write_records(path, [example(image=b"pixels")])
    if damage:
        content = bytearray(path.read_bytes())
        content[offset + length - 1] ^= 1
        path.write_bytes(content)
    record = read_record(
        tf.constant(str(path)),
        tf.constant(offset, tf.int64),
        tf.constant(length, tf.int64),
    )
    with pytest.raises(error):
        image_of_record(record.get_single_element(), key)
