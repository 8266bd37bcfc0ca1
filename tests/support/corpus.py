"""Strange and malformed images, and what is to become of each.

The good ones show RAMP, or one colour, so that what they decode to is known
without any decoder.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import socket
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.support.encoders import (
    bare_webp,
    black_gif,
    bmp_from_the_top,
    claiming,
    exif,
    interlaced_png_of,
    png,
    png_of,
    with_exif,
    with_late_header,
    with_segment,
)

PX = 16
# Of 255: what JPEG at its best quality and lossy WebP may change of RAMP.
JPEG_LOSS = 10
# Smooth, of other slopes in each channel; red grows to the right, green falls
# to the bottom, so that a mirrored image is another one.
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
    """A image that can be read.

    Attributes:
      encoded: the file.
      pixels: what it shows at PX x PX.
      loss: how far off a pixel may be, of 255.
      orientation: that its EXIF data ask for.
    """

    encoded: bytes
    pixels: np.ndarray
    loss: int = 0
    orientation: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bad:
    """One that cannot.

    Attributes:
      put: the file, or what puts something else at a path.
      reason: a part of what is said of it.
    """

    put: bytes | Callable[[pathlib.Path], object]
    reason: str


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(pixels: np.ndarray, **options: object) -> bytes:
    return tf.io.encode_jpeg(
        pixels, quality=100, chroma_downsampling=False, **options
    ).numpy()


def _solid(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(ORANGE, (height, width, 3))


_RGB = Image.fromarray(RAMP)
_JPEG, _PROGRESSIVE = _jpeg(RAMP), _jpeg(RAMP, progressive=True)
_PNG, _BMP = png_of(RAMP), _save(_RGB, "BMP")
_PALETTE = _RGB.quantize(256)
_PALETTE_PIXELS = np.asarray(_PALETTE.convert("RGB"))
_GIF = _save(_PALETTE, "GIF")
_WEBP = _save(_RGB, "WEBP", lossless=True)
_LOSSY_WEBP = _save(_RGB, "WEBP", quality=100)
_CMYK = _RGB.convert("CMYK")
_ALPHA = np.full((PX, PX, 1), 7, np.uint8)
_RGBA = Image.fromarray(np.concatenate([RAMP, _ALPHA], axis=-1))
_OTHER_FRAME = Image.new("RGB", (PX, PX)).quantize(2)
WHOLE = {
    "jpg": _JPEG,
    "png": _PNG,
    "gif": _GIF,
    "bmp": _BMP,
    # With something before the pixels, or a tenth would be no WebP yet.
    "webp": _save(_RGB, "WEBP", quality=100, icc_profile=bytes(200)),
}

GOOD: dict[str, Good] = {
    "plain.jpg": Good(encoded=_JPEG, pixels=RAMP, loss=JPEG_LOSS),
    "progressive.jpg": Good(encoded=_PROGRESSIVE, pixels=RAMP, loss=JPEG_LOSS),
    "grey.jpg": Good(
        encoded=_jpeg(GREY[..., None]), pixels=GREY_RGB, loss=JPEG_LOSS
    ),
    "cmyk.jpg": Good(
        encoded=_save(_CMYK, "JPEG", quality=100, subsampling=0),
        pixels=np.asarray(_CMYK.convert("RGB")),
        loss=JPEG_LOSS,
    ),
    "comment.jpg": Good(
        encoded=with_segment(_JPEG, 0xFE, b"\xff\xda" * 9),
        pixels=RAMP,
        loss=JPEG_LOSS,
    ),
    "more_behind_the_end.jpg": Good(
        encoded=_JPEG + _PNG, pixels=RAMP, loss=JPEG_LOSS
    ),
    "garbage_exif.jpg": Good(
        encoded=with_exif(_JPEG, b"\xff" * 50), pixels=RAMP, loss=JPEG_LOSS
    ),
    # Seen as they are stored, whatever they ask for.
    **{
        f"turned_{number}.jpg": Good(
            encoded=with_exif(_JPEG, exif(number, order="<>"[number % 2])),
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
        encoded=_save(_RGB, "WEBP", lossless=True, exif=exif(3)),
        pixels=RAMP,
        orientation=3,
    ),
    "one_pixel.jpg": Good(
        encoded=_jpeg(_solid(1, 1)), pixels=_solid(PX, PX), loss=JPEG_LOSS
    ),
    "a_column.jpg": Good(
        encoded=_jpeg(_solid(10_000, 1)), pixels=_solid(PX, PX), loss=JPEG_LOSS
    ),
    "a_row.png": Good(encoded=png_of(_solid(1, 10_000)), pixels=_solid(PX, PX)),
    "plain.png": Good(encoded=_PNG, pixels=RAMP),
    "16_bits.png": Good(
        # The upper 8 are the image; rounding would add one.
        encoded=png_of(RAMP.astype(np.uint16) * 256 + 200, bits=16),
        pixels=RAMP,
    ),
    "grey_16_bits.png": Good(
        encoded=_save(Image.fromarray(GREY.astype(np.uint16) * 256), "PNG"),
        pixels=GREY_RGB,
    ),
    "one_bit.png": Good(
        encoded=_save(Image.fromarray(BITS).convert("1"), "PNG"), pixels=BITS
    ),
    "palette.png": Good(encoded=_save(_PALETTE, "PNG"), pixels=_PALETTE_PIXELS),
    "transparent_palette.png": Good(
        encoded=_save(_PALETTE, "PNG", transparency=bytes(range(256))),
        pixels=_PALETTE_PIXELS,
    ),
    "alpha.png": Good(encoded=_save(_RGBA, "PNG"), pixels=RAMP),
    "interlaced.png": Good(encoded=interlaced_png_of(RAMP), pixels=RAMP),
    "plain.gif": Good(encoded=_GIF, pixels=_PALETTE_PIXELS),
    "animated.gif": Good(
        encoded=_save(
            _PALETTE, "GIF", save_all=True, append_images=[_OTHER_FRAME]
        ),
        pixels=_PALETTE_PIXELS,
    ),
    "smaller_screen.gif": Good(
        encoded=black_gif((1, 1), [(PX, PX), (3, 3)]), pixels=BLACK
    ),
    "plain.bmp": Good(encoded=_BMP, pixels=RAMP),
    "alpha.bmp": Good(encoded=_save(_RGBA, "BMP"), pixels=RAMP),
    "palette.bmp": Good(encoded=_save(_PALETTE, "BMP"), pixels=_PALETTE_PIXELS),
    "from_the_top.bmp": Good(encoded=bmp_from_the_top(RAMP), pixels=RAMP),
    "plain.webp": Good(encoded=_WEBP, pixels=RAMP),
    "alpha.webp": Good(
        encoded=_save(_RGBA, "WEBP", lossless=True, exact=True), pixels=RAMP
    ),
    "lossy.webp": Good(
        encoded=_LOSSY_WEBP,
        pixels=RAMP,
        # Half the colour resolution.
        loss=2 * JPEG_LOSS,
    ),
    "wrong_suffix_png.jpg": Good(encoded=_PNG, pixels=RAMP),
    "wrong_suffix_jpeg.png": Good(encoded=_JPEG, pixels=RAMP, loss=JPEG_LOSS),
    "wrong_suffix_webp.gif": Good(encoded=_WEBP, pixels=RAMP),
    "UPPER CASE.PNG": Good(encoded=_PNG, pixels=RAMP),
    # Names.
    "-leading_dash.png": Good(encoded=_PNG, pixels=RAMP),
    "line\nend.png": Good(encoded=_PNG, pixels=RAMP),
    "ünïcødé 寿司 🍣.png": Good(encoded=_PNG, pixels=RAMP),
    os.fsdecode(b"no \xff text.png"): Good(encoded=_PNG, pixels=RAMP),
    f"{'l' * 251}.png": Good(encoded=_PNG, pixels=RAMP),
}

_HUGE = (20_000, 20_000)
# Within the limit, if the file held so many pixels.
_LARGE = (9_999, 9_999)
_ONE_COLOUR = _save(Image.new("RGB", (PX, PX)), "WEBP", lossless=True)
_CLAIM = "declares 20000 x 20000 pixels; at most 100 megapixels"


def _huge_png() -> bytes:
    """All of its pixels are there: 50 kB on disk, 1.2 GB decoded."""
    width, height = _HUGE
    return png([bytes(width // 8)] * height, _HUGE, bits=1, colour=0)


def _many_scans() -> bytes:
    """The last scan of a progressive JPEG, again and again."""
    last = _PROGRESSIVE.rindex(b"\xff\xda")
    return _PROGRESSIVE[:-2] + _PROGRESSIVE[last:-2] * 300 + b"\xff\xd9"


def _huge_file(path: pathlib.Path) -> None:
    """A hole of 5 GB behind the image, which takes no room on disk."""
    path.write_bytes(_JPEG)
    os.truncate(path, 5_000_000_000)


def _socket(path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        # Its path may have 107 bytes only.
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def _animated_webp(**options: object) -> bytes:
    return _save(
        _RGB, "WEBP", save_all=True, append_images=[Image.fromarray(BLACK)],
        **options,
    )  # fmt: skip


def _looks_like(content: bytes, kind: str) -> Bad:
    return Bad(
        put=content,
        reason=f"looks like {kind}; JPEG, PNG, BMP, GIF and WebP can be read",
    )


_KINDS = {"jpg": "JPEG", "webp": "WebP"}

BAD: dict[str, Bad] = {
    "empty.jpg": Bad(put=b"", reason="an empty file"),
    "text.jpg": _looks_like(b"Two onions, peeled.", "text"),
    "html.jpg": _looks_like(b"<!DOCTYPE html><title>404</title>", "HTML"),
    "zeros.jpg": _looks_like(
        bytes(500), "no image (its first bytes are 00 00 00 00)"
    ),
    "svg.png": _looks_like(b'<svg xmlns="..."/>', "SVG"),
    "pointer.jpg": _looks_like(
        b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"
    ),
    "pdf.jpg": _looks_like(b"%PDF-1.7", "PDF"),
    "zip.jpg": _looks_like(b"PK\x03\x04" + bytes(30), "a ZIP archive"),
    "photoshop.jpg": _looks_like(b"8BPS\0\1", "Photoshop"),
    "tiff.jpg": _looks_like(_save(_RGB, "TIFF"), "TIFF"),
    "icon.bmp": _looks_like(_save(_RGB, "ICO"), "an icon"),
    "heic.jpg": _looks_like(
        b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, AVIF or a video"
    ),
    "sound.webp": _looks_like(
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
        "no image (its first bytes are 52 49 46 46)",
    ),
    "jpeg_xl.jpg": _looks_like(b"\xff\x0a" + bytes(40), "JPEG XL"),
    "animated.webp": Bad(
        put=_animated_webp(lossless=True), reason="an animated WebP"
    ),
    "animated_lossy.webp": Bad(put=_animated_webp(), reason="an animated WebP"),
    **{
        f"{tenths}_tenths.{suffix}": Bad(
            put=whole[: len(whole) * tenths // 10],
            reason="a broken, truncated or unsupported"
            f" {_KINDS.get(suffix, suffix.upper())}",
        )
        for suffix, whole in WHOLE.items()
        for tenths in range(1, 10)
    },
    "no_tables.jpg": Bad(
        put=_JPEG[:2] + _JPEG[_JPEG.index(b"\xff\xc0") :],
        reason="a broken, truncated or unsupported JPEG",
    ),
    "no_pixels.jpg": Bad(
        put=claiming(_JPEG, "JPEG", (0, 0)),
        reason="a broken, truncated or unsupported JPEG",
    ),
    "four_bits.bmp": Bad(
        put=_BMP[:28] + b"\4" + _BMP[29:],
        reason="a broken, truncated or unsupported BMP",
    ),
    "wrong_checksum.png": Bad(
        put=_PNG[:45] + bytes([_PNG[45] ^ 1]) + _PNG[46:],
        reason="a broken, truncated or unsupported PNG",
    ),
    # Sizes.
    **{
        f"claims_{kind}.jpg": Bad(
            put=claiming(whole, kind, _HUGE), reason=f"{name} that {_CLAIM}"
        )
        for kind, whole, name in (
            ("JPEG", _JPEG, "a JPEG"),
            ("progressive", _PROGRESSIVE, "a JPEG"),
            ("PNG", _PNG, "a PNG"),
            ("GIF", _GIF, "a GIF"),
            ("BMP", _BMP, "a BMP"),
        )
    },
    "claims_WebP.jpg": Bad(
        put=claiming(_WEBP, "WebP", (16_000, 16_000)),
        reason="a WebP that declares 16000 x 16000 pixels; at most 100",
    ),
    **{
        f"sparse_{kind}.jpg": Bad(
            put=claiming(whole, kind, _LARGE),
            reason=f"declares 9999 x 9999 pixels in {len(whole)} bytes; at most"
            " 512 pixels per byte are read",
        )
        for kind, whole in (
            ("JPEG", _JPEG),
            ("progressive", _PROGRESSIVE),
            ("WebP", _ONE_COLOUR),
        )
    },
    "late_header.png": Bad(
        put=with_late_header(_huge_png()),
        reason="a broken, truncated or unsupported PNG",
    ),
    "bare.webp": Bad(
        put=bare_webp(claiming(_ONE_COLOUR, "WebP", (16_000, 16_000))),
        reason="a broken, truncated or unsupported WebP",
    ),
    "huge_frame.gif": Bad(
        put=black_gif((9, 9), [_HUGE]),
        reason="a GIF of 400 megapixels in 1 frames; at most 300 are read",
    ),
    "crossed_frames.gif": Bad(
        put=black_gif((9, 9), [(20_000, 1), (1, 20_000)]),
        reason="a GIF whose frames need 20000 x 20000 pixels; at most 100",
    ),
    "huge.png": Bad(put=_huge_png(), reason=f"a PNG that {_CLAIM}"),
    "many_frames.gif": Bad(
        put=black_gif((9, 9), [(3000, 3000)] * 40),
        reason="a GIF of 360 megapixels in 40 frames; at most 300 are read",
    ),
    "many_scans.jpg": Bad(put=_many_scans(), reason="scans; at most 200"),
    "huge_file.jpg": Bad(
        put=_huge_file, reason="has 5000 MB; at most 400 MB are read"
    ),
    # No files.
    "dangling_link.jpg": Bad(
        put=lambda path: path.symlink_to(path.parent / "nowhere"),
        reason="cannot be read (No such file or directory)",
    ),
    "link_to_itself.jpg": Bad(
        put=lambda path: path.symlink_to(path),
        reason="cannot be read (Too many levels of symbolic links)",
    ),
    "link_to_zeros.jpg": Bad(
        put=lambda path: path.symlink_to("/dev/zero"),
        reason="not a regular file",
    ),
    "pipe.jpg": Bad(put=os.mkfifo, reason="not a regular file"),
    "socket.jpg": Bad(put=_socket, reason="not a regular file"),
}


def put(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Makes one of the corpus in a folder; its path."""
    case = GOOD.get(name) or BAD[name]
    path = folder / name
    content = case.encoded if isinstance(case, Good) else case.put
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def put_all(folder: pathlib.Path) -> None:
    """Makes all of it in a folder, and in that an empty folder a.jpg."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").mkdir()
    for name in (*GOOD, *BAD):
        put(folder, name)
