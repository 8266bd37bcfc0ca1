"""Unusual images that can be read, and the pixels that each shows.

They show RAMP or one colour, so their pixels are known without a decoder.
"""

from __future__ import annotations

import dataclasses
import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.support.encoders import (
    black_gif,
    bmp_from_the_top,
    exif,
    interlaced_png_of,
    png_of,
    with_exif,
    with_segment,
)

PX = 16
# The largest change of RAMP, of 255, by JPEG at its best quality.
JPEG_LOSS = 10
# Smooth, with a different slope in each channel: red grows to the right and
# green falls to the bottom, so that mirroring changes the image.
RAMP = np.stack(
    np.broadcast_arrays(
        np.linspace(30, 220, PX)[None, :],
        np.linspace(210, 40, PX)[:, None],
        np.full((1, 1), 90.0),
    ),
    axis=-1,
).astype(np.uint8)
GREY = RAMP[..., 0]
GREY_RGB = np.repeat(GREY[..., None], 3, axis=-1)
BITS = (GREY_RGB >= 128) * np.uint8(255)
ORANGE = np.array([200, 120, 40], np.uint8)
BLACK = np.zeros((PX, PX, 3), np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Good:
    """An image that can be read.

    Attributes:
      encoded: content of the file.
      pixels: uint8 (PX, PX, 3), the image after resizing.
      loss: largest error of a pixel, of 255.
      orientation: orientation in its EXIF data.
    """

    encoded: bytes
    pixels: np.ndarray
    loss: int = 0
    orientation: int = 1


def save(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Returns an image as Pillow encodes it."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    return tf.io.encode_jpeg(
        pixels, quality=100, chroma_downsampling=False, **options
    ).numpy()


def _solid(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(ORANGE, (height, width, 3))


RGB = Image.fromarray(RAMP)
JPEG, PROGRESSIVE = jpeg(RAMP), jpeg(RAMP, progressive=True)
PNG, BMP = png_of(RAMP), save(RGB, "BMP")
_PALETTE = RGB.quantize(256)
_PALETTE_PIXELS = np.asarray(_PALETTE.convert("RGB"))
GIF = save(_PALETTE, "GIF")
WEBP = save(RGB, "WEBP", lossless=True)
_LOSSY_WEBP = save(RGB, "WEBP", quality=100)
_CMYK = RGB.convert("CMYK")
_ALPHA = np.full((PX, PX, 1), 7, np.uint8)
_RGBA = Image.fromarray(np.concatenate([RAMP, _ALPHA], axis=-1))
_OTHER_FRAME = Image.new("RGB", (PX, PX)).quantize(2)
GOOD: dict[str, Good] = {
    "plain.jpg": Good(encoded=JPEG, pixels=RAMP, loss=JPEG_LOSS),
    "progressive.jpg": Good(encoded=PROGRESSIVE, pixels=RAMP, loss=JPEG_LOSS),
    "grey.jpg": Good(
        encoded=jpeg(GREY[..., None]), pixels=GREY_RGB, loss=JPEG_LOSS
    ),
    "cmyk.jpg": Good(
        encoded=save(_CMYK, "JPEG", quality=100, subsampling=0),
        pixels=np.asarray(_CMYK.convert("RGB")),
        loss=JPEG_LOSS,
    ),
    "comment.jpg": Good(
        encoded=with_segment(JPEG, 0xFE, b"\xff\xda" * 9),
        pixels=RAMP,
        loss=JPEG_LOSS,
    ),
    "trailing_data.jpg": Good(encoded=JPEG + PNG, pixels=RAMP, loss=JPEG_LOSS),
    "garbage_exif.jpg": Good(
        encoded=with_exif(JPEG, b"\xff" * 50), pixels=RAMP, loss=JPEG_LOSS
    ),
    # Used as they are stored, whatever their orientation.
    **{
        f"turned_{number}.jpg": Good(
            encoded=with_exif(JPEG, exif(number, order="<>"[number % 2])),
            pixels=RAMP,
            loss=JPEG_LOSS,
            orientation=number,
        )
        for number in range(2, 9)
    },
    "turned.png": Good(
        encoded=png_of(RAMP, chunks=[(b"eXIf", exif(6))]),
        pixels=RAMP,
        orientation=6,
    ),
    "turned.webp": Good(
        encoded=save(RGB, "WEBP", lossless=True, exif=exif(3)),
        pixels=RAMP,
        orientation=3,
    ),
    "one_pixel.jpg": Good(
        encoded=jpeg(_solid(1, 1)), pixels=_solid(PX, PX), loss=JPEG_LOSS
    ),
    "a_column.jpg": Good(
        encoded=jpeg(_solid(10_000, 1)), pixels=_solid(PX, PX), loss=JPEG_LOSS
    ),
    "a_row.png": Good(encoded=png_of(_solid(1, 10_000)), pixels=_solid(PX, PX)),
    "plain.png": Good(encoded=PNG, pixels=RAMP),
    "16_bits.png": Good(
        # The upper 8 bits are the image; rounding would add one.
        encoded=png_of(RAMP.astype(np.uint16) * 256 + 200, bits=16),
        pixels=RAMP,
    ),
    "grey_16_bits.png": Good(
        encoded=save(Image.fromarray(GREY.astype(np.uint16) * 256), "PNG"),
        pixels=GREY_RGB,
    ),
    "one_bit.png": Good(
        encoded=save(Image.fromarray(BITS).convert("1"), "PNG"), pixels=BITS
    ),
    "palette.png": Good(encoded=save(_PALETTE, "PNG"), pixels=_PALETTE_PIXELS),
    "transparent_palette.png": Good(
        encoded=save(_PALETTE, "PNG", transparency=bytes(range(256))),
        pixels=_PALETTE_PIXELS,
    ),
    "alpha.png": Good(encoded=save(_RGBA, "PNG"), pixels=RAMP),
    "interlaced.png": Good(encoded=interlaced_png_of(RAMP), pixels=RAMP),
    "plain.gif": Good(encoded=GIF, pixels=_PALETTE_PIXELS),
    "animated.gif": Good(
        encoded=save(
            _PALETTE, "GIF", save_all=True, append_images=[_OTHER_FRAME]
        ),
        pixels=_PALETTE_PIXELS,
    ),
    "smaller_screen.gif": Good(
        encoded=black_gif((1, 1), [(PX, PX), (3, 3)]), pixels=BLACK
    ),
    "plain.bmp": Good(encoded=BMP, pixels=RAMP),
    "alpha.bmp": Good(encoded=save(_RGBA, "BMP"), pixels=RAMP),
    "palette.bmp": Good(encoded=save(_PALETTE, "BMP"), pixels=_PALETTE_PIXELS),
    "from_the_top.bmp": Good(encoded=bmp_from_the_top(RAMP), pixels=RAMP),
    "plain.webp": Good(encoded=WEBP, pixels=RAMP),
    "alpha.webp": Good(
        encoded=save(_RGBA, "WEBP", lossless=True, exact=True), pixels=RAMP
    ),
    "lossy.webp": Good(
        encoded=_LOSSY_WEBP,
        pixels=RAMP,
        # WebP has half the colour resolution.
        loss=2 * JPEG_LOSS,
    ),
    "wrong_suffix_png.jpg": Good(encoded=PNG, pixels=RAMP),
    "wrong_suffix_jpeg.png": Good(encoded=JPEG, pixels=RAMP, loss=JPEG_LOSS),
    "wrong_suffix_webp.gif": Good(encoded=WEBP, pixels=RAMP),
    "UPPER CASE.PNG": Good(encoded=PNG, pixels=RAMP),
    # Unusual names.
    "-leading_dash.png": Good(encoded=PNG, pixels=RAMP),
    "line\nend.png": Good(encoded=PNG, pixels=RAMP),
    "ünïcødé 寿司 🍣.png": Good(encoded=PNG, pixels=RAMP),
    os.fsdecode(b"no \xff text.png"): Good(encoded=PNG, pixels=RAMP),
    f"{'l' * 251}.png": Good(encoded=PNG, pixels=RAMP),
}
