"""Sizes and orientations of headers that are written by hand."""

from __future__ import annotations

import struct

import pytest

from tests.support.corpus import GOOD
from tests.support.encoders import (
    bare_webp,
    black_gif,
    declaring,
    with_late_header,
    with_segment,
)
from tests.support.orientations import HEADERS
from trainer.data.headers import (
    declared_size,
    gif_frames,
    has_size_in_place,
    orientation,
    webp_is_animated,
)

JPEG = GOOD["plain.jpg"].encoded
PROGRESSIVE = GOOD["progressive.jpg"].encoded
BMP = GOOD["plain.bmp"].encoded


@pytest.mark.parametrize("name", HEADERS)
def test_orientations_are_read_from_every_format(name: str) -> None:
    number, encoded = HEADERS[name]
    assert orientation(encoded) == number


@pytest.mark.parametrize(
    ("encoded", "image_format", "size"),
    [
        (declaring(JPEG, "JPEG", (300, 200)), "JPEG", (300, 200)),
        (declaring(PROGRESSIVE, "progressive", (7, 65535)), "JPEG", (7, 65535)),
        # Bytes between two segments, which decoders skip.
        (JPEG[:2] + b"\0junk\xff\0\xff\xff" + JPEG[2:], "JPEG", (16, 16)),
        (with_segment(JPEG, 0xC4, b"\xff\xc0" * 9), "JPEG", (16, 16)),
        (JPEG[: JPEG.index(b"\xff\xc0") + 6], "JPEG", (0, 0)),
        (JPEG[:2], "JPEG", (0, 0)),
        (BMP[:18] + struct.pack("<ii", 12, -34), "BMP", (12, 34)),
        (BMP[:25], "BMP", (0, 0)),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\4\1\0\0\1\0", "WebP",
         (261, 257)),
        (GOOD["plain.webp"].encoded, "WebP", (16, 16)),
        (GOOD["lossy.webp"].encoded, "WebP", (16, 16)),
        (GOOD["alpha.webp"].encoded, "WebP", (16, 16)),
        (b"RIFF\0\0\0\0WEBPVP8X", "WebP", (0, 0)),
    ],
)  # fmt: skip
def test_declared_sizes_are_read_from_every_format(
    encoded: bytes, image_format: str, size: tuple[int, int]
) -> None:
    assert declared_size(encoded, image_format) == size


def test_gif_frames_are_added_up() -> None:
    gif = black_gif((9, 9), [(10, 20), (300, 4), (1, 1)])
    assert gif_frames(gif) == (3, 1401, 300, 20)
    # 13 bytes of header, a table of 2 colours, and a truncated frame.
    assert gif_frames(gif[:28]) == (1, 200, 10, 20)
    assert gif_frames(gif[:5]) == (0, 0, 0, 0)
    # With extensions and colour tables between the frames.
    animated = GOOD["animated.gif"].encoded
    assert gif_frames(animated) == (2, 2 * 16 * 16, 16, 16)


@pytest.mark.parametrize(
    ("encoded", "image_format", "in_place"),
    [
        (GOOD["plain.png"].encoded, "PNG", True),
        (with_late_header(GOOD["plain.png"].encoded), "PNG", False),
        (b"\x89PNG", "PNG", False),
        (GOOD["plain.webp"].encoded, "WebP", True),
        (GOOD["lossy.webp"].encoded, "WebP", True),
        (GOOD["turned.webp"].encoded, "WebP", True),
        (bare_webp(GOOD["plain.webp"].encoded), "WebP", False),
        (JPEG, "JPEG", True),
    ],
)
def test_a_size_elsewhere_in_the_file_is_noticed(
    encoded: bytes, image_format: str, in_place: bool
) -> None:
    assert has_size_in_place(encoded, image_format) is in_place


def test_an_animated_webp_is_recognized() -> None:
    head = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0"
    assert webp_is_animated(head + b"\x12")
    assert not webp_is_animated(head + b"\x10")
    assert not webp_is_animated(head)
    assert not webp_is_animated(b"RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x12")
