"""Detects the format of an encoded image and what is wrong with it."""

from __future__ import annotations

import codecs
import stat

import tensorflow as tf

from trainer.data.decode import decode_image
from trainer.data.headers import (
    declared_size,
    gif_frames,
    has_size_in_place,
    webp_is_animated,
)
from trainer.data.limits import (
    MAX_BYTES,
    MAX_GIF_PIXELS,
    MAX_JPEG_SCANS,
    MAX_PIXELS,
    MAX_PIXELS_PER_BYTE,
    MAX_SPARSE_PIXELS,
)
from trainer.data.signatures import format_of

_LEGAL = "JPEG, PNG, BMP, GIF and WebP can be read"
_UNSUPPORTED = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
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


def unfit_to_read(mode: int, size: int) -> str | None:
    """Returns why a file must not be read; None if it may be.

    Pipes and devices may never end.

    Args:
      mode: mode of the file, as `os.stat` returns it.
      size: bytes of the encoded image.
    """
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if size > MAX_BYTES:
        return (
            f"has {size // 1_000_000} MB; at most"
            f" {MAX_BYTES // 1_000_000} MB are read"
        )
    return None


def what_is_wrong(encoded: bytes) -> str | None:
    """Returns what is wrong with an image; None if it can be decoded."""
    if not encoded:
        return "an empty file"
    image_format = format_of(encoded)
    if image_format is None:
        return f"looks like {_unsupported(encoded)}; {_LEGAL}"
    broken = f"a broken, truncated or unsupported {image_format}"
    if not has_size_in_place(encoded, image_format):
        return broken
    # Before the decoder allocates memory for it.
    excess = _excess(encoded, image_format)
    if excess:
        return excess
    try:
        if image_format == "JPEG":
            # Reads the whole file but computes only 1/64 of the pixels.
            tf.io.decode_jpeg(encoded, channels=3, ratio=8)
        else:
            decode_image(tf.constant(encoded))
    except tf.errors.OpError:
        return broken
    return None


def _excess(encoded: bytes, image_format: str) -> str | None:
    """Returns why decoding would take too much memory or time, else None.

    `graph_limits.exceeds_limits` tests the same limits in a graph.
    """
    width, height = declared_size(encoded, image_format)
    legal = f"at most {MAX_PIXELS // 1_000_000} megapixels are read"
    if width * height > MAX_PIXELS:
        return (
            f"a {image_format} that declares {width} x {height} pixels; {legal}"
        )
    sparse = max(MAX_SPARSE_PIXELS, MAX_PIXELS_PER_BYTE * len(encoded))
    if image_format in ("JPEG", "WebP") and width * height > sparse:
        return (
            f"a {image_format} that declares {width} x {height} pixels in"
            f" {len(encoded)} bytes; at most {MAX_PIXELS_PER_BYTE} pixels per"
            " byte are read"
        )
    if image_format == "GIF":
        sizes = gif_frames(encoded)
        if sizes.pixels > MAX_GIF_PIXELS:
            return (
                f"a GIF of {sizes.pixels // 1_000_000} megapixels in"
                f" {sizes.frames} frames; at most"
                f" {MAX_GIF_PIXELS // 1_000_000} are read"
            )
        if sizes.width * sizes.height > MAX_PIXELS:
            return (
                f"a GIF whose frames need {sizes.width} x {sizes.height}"
                f" pixels; {legal}"
            )
    if image_format == "WebP" and webp_is_animated(encoded):
        return "an animated WebP; save one frame of it as an image"
    # This also counts the scans of a thumbnail, and the same two bytes in
    # metadata; both are rare.
    scans = encoded.count(b"\xff\xda") if image_format == "JPEG" else 0
    if scans > MAX_JPEG_SCANS:
        return f"a JPEG of {scans} scans; at most {MAX_JPEG_SCANS} are read"
    return None


def _unsupported(encoded: bytes) -> str:
    """Returns what a file without a supported image seems to be."""
    if encoded[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    start = encoded[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name in _UNSUPPORTED:
        if encoded.startswith(magic) or start.startswith(magic):
            return name
    if _is_text(encoded[:256]):
        return "text"
    return f"no image (its first bytes are {encoded[:4].hex(' ')})"


def _is_text(start: bytes) -> bool:
    """Returns whether the first bytes of a file are printable UTF-8."""
    try:
        # Incrementally, because the last character may be incomplete.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char in "\t\r\n" for char in text)
