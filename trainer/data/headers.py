"""What the header of an encoded image declares: its size, its orientation.

Nothing is decoded here, and broken headers are no errors: the decoder will
say what is wrong with them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

# How width and height are written, and where.
_SIZES = {"PNG": (">II", 16), "GIF": ("<HH", 6), "BMP": ("<ii", 18)}
UPRIGHT = 1
_EXIF_SHORT = 3
_EXIF_ORIENTATION = 0x0112
_EXIF_PREFIX = b"Exif\0\0"

# Bytes of a JPEG that begin a segment: stuffing and fill bytes do not.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_SCAN, _JPEG_END, _JPEG_APP1 = 0xDA, 0xD9, 0xE1
# The restart markers, TEM and SOI stand alone.
_JPEG_LONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
# All that begin a frame: of these sixteen, three are other tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_GIF_HEADER_BYTES = 13
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21

# A bit of the byte at 20, where the first chunk is VP8X.
WEBP_ANIMATED = 2


def declared_size(encoded: bytes, kind: str) -> tuple[int, int]:
    """Width and height by the header, in pixels.

    Args:
      encoded: an image file, or the beginning of one.
      kind: JPEG, PNG, BMP, GIF or WebP.

    Returns:
      (0, 0) where the header is cut short.
    """
    try:
        if kind == "JPEG":
            return _jpeg_size(encoded)
        if kind == "WebP":
            return _webp_size(encoded)
        layout, place = _SIZES[kind]
        width, height = struct.unpack_from(layout, encoded, place)
    except struct.error:
        return 0, 0
    # A BMP's height is negative where its rows go from top to bottom.
    return abs(width), abs(height)


def says_its_size(encoded: bytes, kind: str) -> bool:
    """Tells whether the header stands where `declared_size` reads it.

    libpng passes over other chunks before it, and libwebp accepts pixels
    without a chunk around them; the decoder would find another size then.
    """
    if kind == "PNG":
        return encoded[12:16] == b"IHDR"
    if kind == "WebP":
        return encoded[12:16] in (b"VP8X", b"VP8L", b"VP8 ")
    return True


class GifFrames(NamedTuple):
    """The sizes that the frames of a GIF declare.

    Attributes:
      frames: how many there are.
      pixels: of all frames together.
      width: of the widest frame.
      height: of the highest frame.
    """

    frames: int
    pixels: int
    width: int
    height: int


def gif_frames(encoded: bytes) -> GifFrames:
    """Adds up the frames of a GIF.

    Only the first frame is used, but the decoder unpacks all of them, and
    makes room for its result by the widest and the highest of them, whatever
    size the header declares.
    """
    sizes = []
    place = _GIF_HEADER_BYTES + _gif_table_bytes(encoded[10:11])
    while place < len(encoded):
        if encoded[place] == _GIF_FRAME:
            width = int.from_bytes(encoded[place + 5 : place + 7], "little")
            height = int.from_bytes(encoded[place + 7 : place + 9], "little")
            sizes.append((width, height))
            # After the colour table comes one byte, the size of a code.
            table = _gif_table_bytes(encoded[place + 9 : place + 10])
            place += 11 + table
        elif encoded[place] == _GIF_EXTENSION:
            place += 2
        else:
            break
        # Blocks that begin with their own length, up to an empty one.
        while place < len(encoded) and encoded[place]:
            place += 1 + encoded[place]
        place += 1
    return GifFrames(
        frames=len(sizes),
        pixels=sum(width * height for width, height in sizes),
        width=max((width for width, _ in sizes), default=0),
        height=max((height for _, height in sizes), default=0),
    )


def _gif_table_bytes(flags: bytes) -> int:
    """Bytes of the colour table that a byte of flags announces."""
    if not flags or not flags[0] & 0x80:
        return 0
    return 3 << ((flags[0] & 7) + 1)


def webp_is_animated(encoded: bytes) -> bool:
    """Whether a WebP declares itself an animation."""
    return encoded[12:16] == b"VP8X" and bool(
        encoded[20:21] and encoded[20] & WEBP_ANIMATED
    )


def orientation(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP, 1 to 8.

    Returns:
      1, upright, where there is none or it cannot be read.
    """
    if encoded.startswith(b"\xff\xd8"):
        exif = next(
            (
                encoded[start:end]
                for marker, start, end in _jpeg_segments(encoded)
                if marker == _JPEG_APP1
                and encoded.startswith(_EXIF_PREFIX, start)
            ),
            b"",
        )
    elif encoded.startswith(b"\x89PNG"):
        # The length comes before the name, and a checksum behind the data.
        exif = _chunk(encoded, b"eXIf", start=8, layout=">I4s", behind=4)
    elif encoded.startswith(b"RIFF"):
        exif = _chunk(encoded, b"EXIF", start=12, layout="<4sI", behind=0)
    else:
        return UPRIGHT
    return _tiff_orientation(exif.removeprefix(_EXIF_PREFIX))


def orientation_warning(count: int, example: str) -> str:
    """What is said of images whose orientation is not 1.

    Args:
      count: how many there are.
      example: the path of one.
    """
    return (
        f"{count} photos, such as {example}, are stored on their side or"
        " mirrored and say so in their EXIF data, which is not applied: they"
        " are seen as they are stored; to turn the pixels themselves, run"
        " `mogrify -auto-orient` on a copy of the photos"
    )


def _jpeg_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's data, up to the first scan.

    As the decoder does, it passes over what stands between two segments.
    """
    found = _JPEG_MARKER.search(encoded, 2)
    while found:
        marker, place = encoded[found.start() + 1], found.end()
        if marker in (_JPEG_SCAN, _JPEG_END):
            return
        if marker not in _JPEG_LONE:
            length = int.from_bytes(encoded[place : place + 2], "big")
            yield marker, place + 2, place + length
            place += max(2, length)
        found = _JPEG_MARKER.search(encoded, place)


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    for marker, start, _ in _jpeg_segments(encoded):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", encoded, start + 1)
            return width, height
    return 0, 0


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """By the first chunk; all three kinds of it write the size otherwise."""
    kind = encoded[12:16]
    if kind == b"VP8X":
        if len(encoded) < 30:
            return 0, 0
        width, height = (
            int.from_bytes(encoded[place : place + 3], "little") + 1
            for place in (24, 27)
        )
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", encoded, 26)
    return width & 0x3FFF, height & 0x3FFF


def _chunk(
    encoded: bytes, wanted: bytes, *, start: int, layout: str, behind: int
) -> bytes:
    """The data of the first chunk of that name; empty if there is none.

    Args:
      encoded: the file.
      wanted: the name of the chunk.
      start: where the first chunk begins.
      layout: of name and length, for `struct`; the name is the `4s`.
      behind: bytes between a chunk's data and the next chunk. RIFF pads data
        of odd length by one byte more.
    """
    while start + 8 <= len(encoded):
        one, two = struct.unpack_from(layout, encoded, start)
        name, length = (one, two) if isinstance(one, bytes) else (two, one)
        data = start + 8
        if name == wanted:
            return encoded[data : data + length]
        padding = behind or length % 2
        start = data + length + padding
    return b""


def _tiff_orientation(tiff: bytes) -> int:
    """The orientation in EXIF data, which is a TIFF without an image."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(
                f"{order}HHIH", tiff, start + 2 + 12 * number
            )
            if tag == _EXIF_ORIENTATION:
                legal = (kind, count) == (_EXIF_SHORT, 1) and 1 <= value <= 8
                return value if legal else UPRIGHT
    except struct.error:  # Cut short, or it points outside itself.
        pass
    return UPRIGHT
