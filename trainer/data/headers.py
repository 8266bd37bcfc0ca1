"""Reads size and orientation from the header of an encoded image.

Nothing is decoded here. Broken headers raise no errors, because the decoder
reports them.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from trainer.data.limits import MAX_GAP_BYTES, MAX_HEADER_STEPS

# Layout and position of width and height.
_SIZES = {"PNG": (">II", 16), "GIF": ("<HH", 6), "BMP": ("<ii", 18)}
UPRIGHT = 1
EXIF_SHORT = 3
EXIF_ORIENTATION = 0x0112
EXIF_PREFIX = b"Exif\0\0"

# The bytes of a JPEG that begin a segment, without stuffing and fill bytes.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
JPEG_SCAN, JPEG_END, JPEG_APP1 = 0xDA, 0xD9, 0xE1
# Markers without data: the restart markers, TEM and SOI.
JPEG_LONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
# Markers that begin a frame; three of these sixteen begin other tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_GIF_HEADER_BYTES = 13
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21

# A bit of the byte at 20, if the first chunk is VP8X.
WEBP_ANIMATED = 2


def declared_size(encoded: bytes, image_format: str) -> tuple[int, int]:
    """Returns the width and height that the header declares, in pixels.

    Args:
      encoded: an image file, or the beginning of one.
      image_format: JPEG, PNG, BMP, GIF or WebP.

    Returns:
      (0, 0) if the header is truncated.
    """
    try:
        if image_format == "JPEG":
            return _jpeg_size(encoded)
        if image_format == "WebP":
            return _webp_size(encoded)
        layout, place = _SIZES[image_format]
        width, height = struct.unpack_from(layout, encoded, place)
    except struct.error:
        return 0, 0
    # The height of a BMP is negative if its rows go from top to bottom.
    return abs(width), abs(height)


def has_size_in_place(encoded: bytes, image_format: str) -> bool:
    """Returns whether the size is where `declared_size` reads it.

    libpng skips other chunks before the header, and libwebp accepts pixels
    without a chunk around them. The decoder would then find another size.
    """
    if image_format == "PNG":
        return encoded[12:16] == b"IHDR"
    if image_format == "WebP":
        return encoded[12:16] in (b"VP8X", b"VP8L", b"VP8 ")
    return True


class GifFrames(NamedTuple):
    """The sizes that the frames of a GIF declare.

    Attributes:
      frames: number of frames.
      pixels: pixels of all frames together.
      width: width of the widest frame.
      height: height of the highest frame.
    """

    frames: int
    pixels: int
    width: int
    height: int


def gif_frames(encoded: bytes) -> GifFrames:
    """Adds up the frames of a GIF.

    Only the first frame is used, but the decoder unpacks all of them. It
    allocates memory for the widest and the highest frame, whatever size the
    header declares.
    """
    sizes = []
    place = _GIF_HEADER_BYTES + _gif_table_bytes(encoded[10:11])
    while place < len(encoded):
        if encoded[place] == _GIF_FRAME:
            width = int.from_bytes(encoded[place + 5 : place + 7], "little")
            height = int.from_bytes(encoded[place + 7 : place + 9], "little")
            sizes.append((width, height))
            # The colour table is followed by one byte, the size of a code.
            table = _gif_table_bytes(encoded[place + 9 : place + 10])
            place += 11 + table
        elif encoded[place] == _GIF_EXTENSION:
            place += 2
        else:
            break
        # Skip blocks, which begin with their length, up to an empty one.
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
    """Returns the size in bytes of the colour table that the flags declare."""
    if not flags or not flags[0] & 0x80:
        return 0
    return 3 << ((flags[0] & 7) + 1)


def webp_is_animated(encoded: bytes) -> bool:
    """Returns whether a WebP declares itself an animation."""
    return encoded[12:16] == b"VP8X" and bool(
        encoded[20:21] and encoded[20] & WEBP_ANIMATED
    )


def orientation(encoded: bytes) -> int:
    """Reads the EXIF orientation of a JPEG, PNG or WebP.

    `graph_orientation.orientation_in_graph` does the same in a graph. Both
    read at most MAX_HEADER_STEPS segments or chunks.

    Returns:
      1 to 8; 1, upright, if there is none or it cannot be read.
    """
    if encoded.startswith(b"\xff\xd8"):
        exif = next(
            (
                encoded[start:end]
                for marker, start, end in itertools.islice(
                    _jpeg_segments(encoded, MAX_GAP_BYTES), MAX_HEADER_STEPS
                )
                if marker == JPEG_APP1
                and encoded.startswith(EXIF_PREFIX, start)
            ),
            b"",
        )
    elif encoded.startswith(b"\x89PNG"):
        # Each chunk is length, name, data, checksum.
        exif = _chunk(encoded, b"eXIf", start=8, layout=">I4s", footer=4)
    elif encoded.startswith(b"RIFF"):
        exif = _chunk(encoded, b"EXIF", start=12, layout="<4sI", footer=0)
    else:
        return UPRIGHT
    return _tiff_orientation(exif.removeprefix(EXIF_PREFIX))


def orientation_warning(count: int, example: str) -> str:
    """Returns the warning about images whose orientation is not 1.

    Args:
      count: number of such images.
      example: the path of one of them.
    """
    what = (
        f"{count:,} photos, such as {example}, are stored on their side or"
        " mirrored. Their EXIF orientation is not applied: they are used as"
        " they are stored"
        if count > 1
        else f"{example} is stored on its side or mirrored. Its EXIF"
        " orientation is not applied: it is used as it is stored"
    )
    return (
        f"{what}; to turn such photos upright, train with --exif=apply in"
        " another --workdir"
    )


def _jpeg_segments(
    encoded: bytes, max_gap: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of each segment's data up to the first scan.

    Skips anything between two segments, as the decoder does. A marker without
    data counts as an empty segment.

    Args:
      encoded: the file.
      max_gap: bytes after a segment in which the next marker must be; None
        searches the whole file.
    """
    reach = len(encoded) if max_gap is None else max_gap
    found = _JPEG_MARKER.search(encoded, 2, 2 + reach)
    while found:
        marker, place = encoded[found.start() + 1], found.end()
        if marker in (JPEG_SCAN, JPEG_END):
            return
        if marker in JPEG_LONE:
            yield marker, place, place
        else:
            length = int.from_bytes(encoded[place : place + 2], "big")
            yield marker, place + 2, place + length
            place += max(2, length)
        found = _JPEG_MARKER.search(encoded, place, place + reach)


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    """Returns the size that the first frame declares."""
    for marker, start, _ in _jpeg_segments(encoded):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", encoded, start + 1)
            return width, height
    return 0, 0


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """Returns the size in the first chunk, whose layout depends on its name."""
    chunk = encoded[12:16]
    if chunk == b"VP8X":
        if len(encoded) < 30:
            return 0, 0
        width, height = (
            int.from_bytes(encoded[place : place + 3], "little") + 1
            for place in (24, 27)
        )
        return width, height
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", encoded, 26)
    return width & 0x3FFF, height & 0x3FFF


def _chunk(
    encoded: bytes, wanted: bytes, *, start: int, layout: str, footer: int
) -> bytes:
    """Returns the data of the first chunk of a name; empty if there is none.

    Reads at most MAX_HEADER_STEPS chunks.

    Args:
      encoded: the file.
      wanted: the name of the chunk.
      start: position of the first chunk.
      layout: `struct` layout of name and length; the name is the `4s`.
      footer: bytes between a chunk's data and the next chunk; 0 means RIFF,
        which pads data of odd length by one byte.
    """
    for _ in range(MAX_HEADER_STEPS):
        if start + 8 > len(encoded):
            break
        one, two = struct.unpack_from(layout, encoded, start)
        name, length = (one, two) if isinstance(one, bytes) else (two, one)
        data = start + 8
        if name == wanted:
            return encoded[data : data + length]
        padding = footer or length % 2
        start = data + length + padding
    return b""


def _tiff_orientation(tiff: bytes) -> int:
    """Returns the orientation in EXIF data, a TIFF without an image."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(entries):
            tag, dtype, count, value = struct.unpack_from(
                f"{order}HHIH", tiff, start + 2 + 12 * number
            )
            if tag == EXIF_ORIENTATION:
                legal = (dtype, count) == (EXIF_SHORT, 1) and 1 <= value <= 8
                return value if legal else UPRIGHT
    except struct.error:  # Truncated, or a position outside the data.
        pass
    return UPRIGHT
