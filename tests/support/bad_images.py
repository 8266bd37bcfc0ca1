"""Malformed images and other files, and the reason given for each."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import socket
from collections.abc import Callable

from PIL import Image

from tests.support.encoders import (
    bare_webp,
    black_gif,
    declaring,
    png,
    with_late_header,
)
from tests.support.good_images import (
    BLACK,
    BMP,
    GIF,
    JPEG,
    PNG,
    PROGRESSIVE,
    PX,
    RGB,
    WEBP,
    save,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bad:
    """A file that cannot be read as an image.

    Attributes:
      put: content of the file, or a function that creates it at a path.
      reason: part of the reason given.
    """

    put: bytes | Callable[[pathlib.Path], object]
    reason: str


WHOLE = {
    "jpg": JPEG,
    "png": PNG,
    "gif": GIF,
    "bmp": BMP,
    # The profile precedes the pixels; a tenth of the file is still a WebP.
    "webp": save(RGB, "WEBP", quality=100, icc_profile=bytes(200)),
}

_HUGE = (20_000, 20_000)
# Within the limit, but more pixels than the file can hold.
_LARGE = (9_999, 9_999)
_ONE_COLOUR = save(Image.new("RGB", (PX, PX)), "WEBP", lossless=True)
_HUGE_SIZE = "declares 20000 x 20000 pixels; at most 100 megapixels"


def _huge_png() -> bytes:
    """Returns a complete PNG: 50 kB on disk, 1.2 GB decoded."""
    width, height = _HUGE
    return png([bytes(width // 8)] * height, _HUGE, bits=1, colour=0)


def _many_scans() -> bytes:
    """Returns a progressive JPEG that repeats its last scan."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    return PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * 300 + b"\xff\xd9"


def _huge_file(path: pathlib.Path) -> None:
    """Writes an image and a hole of 5 GB, which takes no space on disk."""
    path.write_bytes(JPEG)
    os.truncate(path, 5_000_000_000)


def _socket(path: pathlib.Path) -> None:
    """Creates a socket at a path."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        # The path of a socket has at most 107 bytes.
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def _animated_webp(**options: object) -> bytes:
    return save(
        RGB, "WEBP", save_all=True, append_images=[Image.fromarray(BLACK)],
        **options,
    )  # fmt: skip


def _looks_like(content: bytes, what: str) -> Bad:
    return Bad(
        put=content,
        reason=f"looks like {what}; JPEG, PNG, BMP, GIF and WebP can be read",
    )


_FORMATS = {"jpg": "JPEG", "webp": "WebP"}

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
    "tiff.jpg": _looks_like(save(RGB, "TIFF"), "TIFF"),
    "icon.bmp": _looks_like(save(RGB, "ICO"), "an icon"),
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
            f" {_FORMATS.get(suffix, suffix.upper())}",
        )
        for suffix, whole in WHOLE.items()
        for tenths in range(1, 10)
    },
    "no_tables.jpg": Bad(
        put=JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :],
        reason="a broken, truncated or unsupported JPEG",
    ),
    "no_pixels.jpg": Bad(
        put=declaring(JPEG, "JPEG", (0, 0)),
        reason="a broken, truncated or unsupported JPEG",
    ),
    "four_bits.bmp": Bad(
        put=BMP[:28] + b"\4" + BMP[29:],
        reason="a broken, truncated or unsupported BMP",
    ),
    "wrong_checksum.png": Bad(
        put=PNG[:45] + bytes([PNG[45] ^ 1]) + PNG[46:],
        reason="a broken, truncated or unsupported PNG",
    ),
    # Sizes.
    **{
        f"declares_{which}.jpg": Bad(
            put=declaring(whole, which, _HUGE),
            reason=f"{name} that {_HUGE_SIZE}",
        )
        for which, whole, name in (
            ("JPEG", JPEG, "a JPEG"),
            ("progressive", PROGRESSIVE, "a JPEG"),
            ("PNG", PNG, "a PNG"),
            ("GIF", GIF, "a GIF"),
            ("BMP", BMP, "a BMP"),
        )
    },
    "declares_WebP.jpg": Bad(
        put=declaring(WEBP, "WebP", (16_000, 16_000)),
        reason="a WebP that declares 16000 x 16000 pixels; at most 100",
    ),
    **{
        f"sparse_{which}.jpg": Bad(
            put=declaring(whole, which, _LARGE),
            reason=f"declares 9999 x 9999 pixels in {len(whole)} bytes; at most"
            " 512 pixels per byte are read",
        )
        for which, whole in (
            ("JPEG", JPEG),
            ("progressive", PROGRESSIVE),
            ("WebP", _ONE_COLOUR),
        )
    },
    "late_header.png": Bad(
        put=with_late_header(_huge_png()),
        reason="a broken, truncated or unsupported PNG",
    ),
    "bare.webp": Bad(
        put=bare_webp(declaring(_ONE_COLOUR, "WebP", (16_000, 16_000))),
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
    "huge.png": Bad(put=_huge_png(), reason=f"a PNG that {_HUGE_SIZE}"),
    "many_frames.gif": Bad(
        put=black_gif((9, 9), [(3000, 3000)] * 40),
        reason="a GIF of 360 megapixels in 40 frames; at most 300 are read",
    ),
    "many_scans.jpg": Bad(put=_many_scans(), reason="scans; at most 200"),
    "huge_file.jpg": Bad(
        put=_huge_file, reason="has 5000 MB; at most 400 MB are read"
    ),
    # Links, pipes and sockets.
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
