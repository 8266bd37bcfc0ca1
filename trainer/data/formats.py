"""What an encoded image is, and whether it can be decoded."""

from __future__ import annotations

import codecs
import stat

import tensorflow as tf

from trainer.data.decode import decode_image
from trainer.data.headers import (
    declared_size,
    gif_frames,
    says_its_size,
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

_LEGAL = "JPEG, PNG, BMP, GIF and WebP can be read"
_KINDS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
_OTHER_KINDS = (
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
    """Why a file is not to be read at all; None if it may be.

    Pipes and devices may never end.

    Args:
      mode: of the file, as `os.stat` gives it.
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
    """None if the image can be decoded."""
    if not encoded:
        return "an empty file"
    kind = _kind(encoded)
    if kind is None:
        return f"looks like {_other_kind(encoded)}; {_LEGAL}"
    broken = f"a broken, truncated or unsupported {kind}"
    if not says_its_size(encoded, kind):
        return broken
    # Before the decoder makes room for it.
    excess = _excess(encoded, kind)
    if excess:
        return excess
    try:
        if kind == "JPEG":
            # All of the file is read, and few pixels are made of it.
            tf.io.decode_jpeg(encoded, channels=3, ratio=8)
        else:
            decode_image(tf.constant(encoded))
    except tf.errors.OpError:
        return broken
    return None


def _kind(encoded: bytes) -> str | None:
    """JPEG, PNG, GIF, BMP, WebP, or None."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WebP"
    return next((k for magic, k in _KINDS if encoded.startswith(magic)), None)


def _excess(encoded: bytes, kind: str) -> str | None:
    """Returns what of an image would take too much memory or time.

    `graph_limits.exceeds_limits` does the same in a graph.
    """
    width, height = declared_size(encoded, kind)
    legal = f"at most {MAX_PIXELS // 1_000_000} megapixels are read"
    if width * height > MAX_PIXELS:
        return f"a {kind} that claims {width} x {height} pixels; {legal}"
    sparse = max(MAX_SPARSE_PIXELS, MAX_PIXELS_PER_BYTE * len(encoded))
    if kind in ("JPEG", "WebP") and width * height > sparse:
        return (
            f"a {kind} that claims {width} x {height} pixels in"
            f" {len(encoded)} bytes; at most {MAX_PIXELS_PER_BYTE} pixels a"
            " byte are read"
        )
    if kind == "GIF":
        sizes = gif_frames(encoded)
        if sizes.pixels > MAX_GIF_PIXELS:
            return (
                f"a GIF of {sizes.pixels // 1_000_000} megapixels in"
                f" {sizes.frames} frames; at most"
                f" {MAX_GIF_PIXELS // 1_000_000} are read"
            )
        if sizes.width * sizes.height > MAX_PIXELS:
            return (
                f"a GIF whose frames take {sizes.width} x {sizes.height}"
                f" pixels; {legal}"
            )
    if kind == "WebP" and webp_is_animated(encoded):
        return "an animated WebP; save one frame of it as an image"
    # Elsewhere in the file these two bytes mean a thumbnail, or nothing.
    scans = encoded.count(b"\xff\xda") if kind == "JPEG" else 0
    if scans > MAX_JPEG_SCANS:
        return f"a JPEG of {scans} scans; at most {MAX_JPEG_SCANS} are read"
    return None


def _other_kind(encoded: bytes) -> str:
    """What a file that is none of ours seems to be."""
    if encoded[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    start = encoded[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, kind in _OTHER_KINDS:
        if encoded.startswith(magic) or start.startswith(magic):
            return kind
    if _is_text(encoded[:256]):
        return "text"
    return f"no image (its first bytes are {encoded[:4].hex(' ')})"


def _is_text(start: bytes) -> bool:
    try:
        # Incrementally, since the last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char in "\t\r\n" for char in text)
