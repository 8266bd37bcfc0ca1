"""Detection of image formats and of broken images."""

from __future__ import annotations

import pathlib
import struct

import pytest

from tests.support.images import write_image
from trainer.data.formats import what_is_wrong


@pytest.mark.parametrize(
    ("format", "mode", "size"),
    [
        pytest.param("JPEG", "RGB", (40, 30), id="jpeg"),
        pytest.param("JPEG", "L", (40, 30), id="grey_jpeg"),
        pytest.param("JPEG", "CMYK", (40, 30), id="cmyk_jpeg"),
        pytest.param("JPEG", "RGB", (1, 1), id="one_pixel_jpeg"),
        pytest.param("PNG", "RGB", (40, 30), id="png"),
        pytest.param("PNG", "RGBA", (40, 30), id="rgba_png"),
        pytest.param("PNG", "LA", (40, 30), id="grey_alpha_png"),
        pytest.param("PNG", "P", (40, 30), id="palette_png"),
        pytest.param("PNG", "1", (40, 30), id="one_bit_png"),
        pytest.param("PNG", "I;16", (40, 30), id="16_bit_png"),
        pytest.param("PNG", "RGB", (1, 1), id="one_pixel_png"),
        pytest.param("GIF", "P", (40, 30), id="gif"),
        pytest.param("BMP", "RGB", (40, 30), id="bmp"),
        pytest.param("BMP", "L", (40, 30), id="grey_bmp"),
    ],
)
def test_good_images_are_accepted(
    tmp_path: pathlib.Path,
    format: str,
    mode: str,
    size: tuple[int, int],
) -> None:
    path = write_image(tmp_path / "x", format=format, mode=mode, size=size)
    assert what_is_wrong(path.read_bytes()) is None


_READABLE = "JPEG, PNG, BMP, GIF and WebP can be read"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "an empty file", id="zero_byte"),
        pytest.param(b"A recipe.", f"looks like text; {_READABLE}", id="text"),
        pytest.param(
            # The last character is incomplete.
            ("x" + "ж" * 200).encode(),
            f"looks like text; {_READABLE}",
            id="long_text",
        ),
        pytest.param(
            b"\r\n <!DOCTYPE html><html>",
            f"looks like HTML; {_READABLE}",
            id="html",
        ),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1",
            f"looks like a Git LFS pointer; {_READABLE}",
            id="lfs",
        ),
        pytest.param(
            b"\0\0\0\x20ftypheic\0\0\0\0",
            f"looks like HEIC, AVIF or a video; {_READABLE}",
            id="heic",
        ),
        pytest.param(
            bytes(40),
            "looks like no image (its first bytes are 00 00 00 00);"
            f" {_READABLE}",
            id="zeros",
        ),
        pytest.param(
            b"\xfe\xed\xfa\xce" * 9,
            "looks like no image (its first bytes are fe ed fa ce);"
            f" {_READABLE}",
            id="bytes",
        ),
        pytest.param(
            b"BM, a diary",
            "a broken, truncated or unsupported BMP",
            id="text_that_begins_with_BM",
        ),
        pytest.param(
            b"GIF89a", "a broken, truncated or unsupported GIF", id="stub"
        ),
        pytest.param(
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
            + struct.pack(">II", 20000, 5001)
            + bytes(50),
            "a PNG that declares 20000 x 5001 pixels; at most 100 megapixels"
            " are read",
            id="absurd_png",
        ),
        pytest.param(
            b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(50),
            "a GIF that declares 65535 x 65535 pixels; at most 100 megapixels"
            " are read",
            id="absurd_gif",
        ),
        pytest.param(
            b"BM" + bytes(16) + struct.pack("<ii", 100000, -1001) + bytes(50),
            "a BMP that declares 100000 x 1001 pixels; at most 100 megapixels"
            " are read",
            id="absurd_bmp",
        ),
    ],
)
def test_bad_content_is_named(content: bytes, expected: str) -> None:
    assert what_is_wrong(content) == expected


def test_a_tiff_is_named(tmp_path: pathlib.Path) -> None:
    path = write_image(tmp_path / "x.jpg", format="TIFF")
    assert what_is_wrong(path.read_bytes()) == f"looks like TIFF; {_READABLE}"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_broken(
    tmp_path: pathlib.Path, format: str, part: float
) -> None:
    mode = "P" if format == "GIF" else "RGB"
    path = write_image(
        tmp_path / "x.jpg", format=format, mode=mode, size=(64, 48)
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    name = {"WEBP": "WebP"}.get(format, format)
    assert (
        what_is_wrong(path.read_bytes())
        == f"a broken, truncated or unsupported {name}"
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_corrupt_image_is_broken(tmp_path: pathlib.Path, format: str) -> None:
    path = write_image(tmp_path / "x.jpg", format=format, size=(64, 48))
    content = bytearray(path.read_bytes())
    content[20:220] = bytes(200)
    path.write_bytes(content)
    assert (
        what_is_wrong(path.read_bytes())
        == f"a broken, truncated or unsupported {format}"
    )
