"""Detects the format of an image by its first bytes."""

from __future__ import annotations

# Bytes that `format_of` and `looks_like_image` need.
SIGNATURE_BYTES = 18

_FORMATS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
# Sizes of the header that follows the 14 bytes of a BMP's file header.
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))


def format_of(start: bytes) -> str | None:
    """Returns JPEG, PNG, GIF, BMP, WebP, or None.

    Args:
      start: at least the first 12 bytes of the file, if it has so many.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next(
        (name for magic, name in _FORMATS if start.startswith(magic)), None
    )


def looks_like_image(start: bytes) -> bool:
    """Returns whether a file without an image suffix is an image.

    Stricter than `format_of`: text may begin with "BM" too.

    Args:
      start: the first `SIGNATURE_BYTES` of the file.
    """
    found = format_of(start)
    if found == "BMP":
        return int.from_bytes(start[14:18], "little") in _BMP_HEADERS
    return found is not None
