"""Encodes images, byte by byte, in forms that no usual encoder writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_BLACK_AND_WHITE = b"\0\0\0\xff\xff\xff"
_GIF_MAX_CODES = 4095


def png(
    rows: Iterable[bytes],
    size: tuple[int, int],
    *,
    bits: int = 8,
    colour: int = 2,
    interlaced: bool = False,
    chunks: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Returns a PNG.

    Args:
      rows: the bytes of each row, without a filter byte.
      size: width and height.
      bits: bits per channel.
      colour: colour type of the standard: 0 grey, 2 RGB, 3 palette, 4 grey
        with alpha, 6 RGB with alpha.
      interlaced: value in the header; the rows must be in that order already.
      chunks: name and data of more chunks, before the pixels.
    """
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" + row) for row in rows)
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced)
    every = (
        (b"IHDR", header),
        *chunks,
        (b"IDAT", data + packer.flush()),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in every
    )


def png_of(pixels: np.ndarray, **options: object) -> bytes:
    """Returns an RGB PNG of uint8 or, with `bits=16`, uint16 (h, w, 3)."""
    rows = pixels.astype(">u2" if options.get("bits") == 16 else "u1")
    size = (pixels.shape[1], pixels.shape[0])
    return png((row.tobytes() for row in rows), size, **options)


def interlaced_png_of(pixels: np.ndarray) -> bytes:
    """Returns an RGB PNG of uint8 (h, w, 3) in the seven passes of Adam7."""
    rows = [
        row.tobytes()
        for top, left, down, right in _ADAM7
        for row in pixels[top::down, left::right]
    ]
    size = (pixels.shape[1], pixels.shape[0])
    return png(rows, size, interlaced=True)


def bmp_from_the_top(pixels: np.ndarray) -> bytes:
    """Returns a top-down BMP of uint8 (h, w, 3), w a multiple of 4."""
    height, width, _ = pixels.shape
    data = pixels[:, :, ::-1].tobytes()
    return (
        b"BM"
        + struct.pack("<IHHI", 54 + len(data), 0, 0, 54)
        + struct.pack("<IiiHHI", 40, width, -height, 1, 24, 0)
        + bytes(20)
        + data
    )


def black_gif(
    screen: tuple[int, int], frames: Iterable[tuple[int, int]]
) -> bytes:
    """Returns a GIF of black frames.

    Args:
      screen: width and height in the header.
      frames: width and height of each frame.
    """
    packed: dict[tuple[int, int], bytes] = {}
    out = [b"GIF89a", struct.pack("<HHBBB", *screen, 0x80, 0, 0)]
    out.append(_BLACK_AND_WHITE)
    for size in frames:
        if size not in packed:
            packed[size] = _black_lzw(size[0] * size[1])
        out.append(b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02")
        out.append(packed[size])
    return b"".join((*out, b";"))


def _black_lzw(pixels: int) -> bytes:
    """Returns LZW data of zeros, each code one zero longer than the last."""
    clear, end, first = 4, 5, 6
    bits, held, data = 0, 0, bytearray()
    width, following, run, left = 3, first, 0, pixels

    def put(code: int) -> None:
        nonlocal bits, held
        bits |= code << held
        held += width
        while held >= 8:
            data.append(bits & 255)
            bits, held = bits >> 8, held - 8

    put(clear)
    while left:
        if run == 0 or run + 1 > left:
            put(0)
            following += run > 0
            run, left = max(run, 1), left - 1
        else:
            put(following)
            following, run = following + 1, run + 1
            left -= run
        if following == 1 << width and width < 12:
            width += 1
        if following >= _GIF_MAX_CODES:
            put(clear)
            width, following, run = 3, first, 0
    put(end)
    data.append(bits & 255)
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(b)]) + bytes(b) for b in blocks) + b"\0"


def exif(orientation: int, *, order: str = "<", dtype: int = 3) -> bytes:
    """Returns EXIF data: a TIFF header and a directory of two entries.

    Args:
      orientation: the value of tag 0x0112.
      order: `<` Intel, `>` Motorola.
      dtype: type of the value; the standard requires 3, two bytes.
    """
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    value = struct.pack(f"{order}H", orientation) + b"\0\0"
    width = struct.pack(f"{order}HHII", 0x0100, 4, 1, 16)
    tag = struct.pack(f"{order}HHI", 0x0112, dtype, 1) + value
    return (
        start
        + struct.pack(f"{order}IH", 8, 2)
        + width
        + tag
        + struct.pack(f"{order}I", 0)
    )


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """Inserts a segment at the beginning of a JPEG."""
    head = bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2)
    return jpeg[:2] + head + data + jpeg[2:]


def with_exif(jpeg: bytes, data: bytes) -> bytes:
    """Inserts EXIF data into a JPEG."""
    return with_segment(jpeg, 0xE1, b"Exif\0\0" + data)


def declaring(encoded: bytes, which: str, size: tuple[int, int]) -> bytes:
    """Replaces the size in the header of an image.

    Args:
      encoded: the whole file.
      which: JPEG, progressive (a JPEG), PNG, GIF, BMP, or WebP (lossless).
      size: width and height to declare.
    """
    width, height = size
    if which in ("JPEG", "progressive"):
        marker = b"\xff\xc0" if which == "JPEG" else b"\xff\xc2"
        place, data = encoded.index(marker) + 5, (">HH", height, width)
    elif which == "WebP":
        assert encoded[12:16] == b"VP8L"
        place, data = 21, ("<I", width - 1 | (height - 1) << 14)
    else:
        place = {"PNG": 16, "GIF": 6, "BMP": 18}[which]
        layout = {"PNG": ">II", "GIF": "<HH", "BMP": "<ii"}[which]
        data = (layout, width, height)
    new = struct.pack(*data)
    changed = encoded[:place] + new + encoded[place + len(new) :]
    return with_right_checksums(changed) if which == "PNG" else changed


def with_late_header(png: bytes) -> bytes:
    """Inserts a chunk before the header of a PNG, which libpng skips."""
    data = b"raNd" + bytes(13)
    checksum = struct.pack(">I", zlib.crc32(data))
    return png[:8] + struct.pack(">I", 13) + data + checksum + png[8:]


def bare_webp(webp: bytes) -> bytes:
    """Removes the chunk around a WebP's pixels; libwebp accepts that."""
    pixels = webp[20:]
    return b"RIFF" + struct.pack("<I", 4 + len(pixels)) + b"WEBP" + pixels


def with_right_checksums(encoded: bytes) -> bytes:
    """Corrects the checksums of a damaged PNG."""
    changed, start = bytearray(encoded), 8
    while start + 12 <= len(changed):
        end = start + 8 + int.from_bytes(changed[start : start + 4], "big")
        if end + 4 <= len(changed):
            checksum = zlib.crc32(changed[start + 4 : end])
            changed[end : end + 4] = struct.pack(">I", checksum)
        start = end + 4
    return bytes(changed)
