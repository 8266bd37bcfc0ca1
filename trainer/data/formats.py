"""What an encoded picture is, and whether it can be decoded."""

from __future__ import annotations

import codecs
import struct

import tensorflow as tf

from trainer.data.decode import decode_image

_MAX_PIXELS = 100_000_000
_LEGAL = "JPEG, PNG, BMP and GIF can be read"
_KINDS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
_OTHER_KINDS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "an icon"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"<svg", "SVG"),
    (b"<!doctype html", "HTML"),
    (b"<html", "HTML"),
    (b"<?xml", "XML"),
)
# How width and height are written, and where.
_SIZES = {"PNG": (">II", 16), "GIF": ("<HH", 6), "BMP": ("<ii", 18)}


def what_is_wrong(encoded: bytes) -> str | None:
    """None if the picture can be decoded."""
    if not encoded:
        return "an empty file"
    kind = next((k for magic, k in _KINDS if encoded.startswith(magic)), None)
    if kind is None:
        return f"looks like {_other_kind(encoded)}; {_LEGAL}"
    width, height = _declared_size(encoded, kind)
    if width * height > _MAX_PIXELS:
        return (
            f"a {kind} that claims {width} x {height} pixels; at most"
            f" {_MAX_PIXELS // 1_000_000} megapixels are read"
        )
    try:
        if kind == "JPEG":
            # All of the file is read, and few pixels are made of it.
            tf.io.decode_jpeg(encoded, channels=3, ratio=8)
        else:
            decode_image(tf.constant(encoded))
    except tf.errors.OpError:
        return f"a broken, truncated or unsupported {kind}"
    return None


def _declared_size(encoded: bytes, kind: str) -> tuple[int, int]:
    """Width and height by the header.

    (0, 0) where it is cut short, and for JPEG, whose has no fixed place.
    """
    layout, place = _SIZES.get(kind, ("<HH", len(encoded)))
    if place + struct.calcsize(layout) > len(encoded):
        return 0, 0
    width, height = struct.unpack_from(layout, encoded, place)
    # A BMP's height is negative where its rows go from top to bottom.
    return abs(width), abs(height)


def _other_kind(encoded: bytes) -> str:
    """What a file that is none of ours seems to be."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WebP"
    if encoded[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    start = encoded[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, kind in _OTHER_KINDS:
        if encoded.startswith(magic) or start.startswith(magic):
            return kind
    if _is_text(encoded[:256]):
        return "text"
    return f"no picture (its first bytes are {encoded[:4].hex(' ')})"


def _is_text(start: bytes) -> bool:
    try:
        # Incrementally, since the last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char in "\t\r\n" for char in text)
