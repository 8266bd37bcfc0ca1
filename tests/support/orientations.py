"""Made-up headers of images, and the EXIF orientation of each."""

from __future__ import annotations

import struct

from tests.support.corpus import GOOD
from tests.support.encoders import exif, png_of, with_exif, with_segment

_JPEG = GOOD["plain.jpg"].encoded
_BMP = GOOD["plain.bmp"].encoded
_PIXELS = GOOD["plain.png"].pixels
# A directory that declares more entries than it has.
_MANY = exif(6)[:8] + b"\xff\xff" + exif(6)[10:22]
_RIFF = b"RIFF\0\0\0\0WEBP"
_SHORT = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return png_of(_PIXELS, chunks=chunks)


def _webp(data: bytes) -> bytes:
    odd = b"ICCP" + struct.pack("<I", 3) + b"abc\0"
    return _RIFF + odd + b"EXIF" + struct.pack("<I", len(data)) + data


def _directory(*entries: bytes) -> bytes:
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)


# Name -> orientation and file.
HEADERS: dict[str, tuple[int, bytes]] = {
    **{
        f"{name} {number} {'Intel' if order == '<' else 'Motorola'}": (
            number,
            make(exif(number, order=order)),
        )
        for number in range(1, 9)
        for order in "<>"
        for name, make in {
            "JPEG": lambda data: with_exif(_JPEG, data),
            "PNG": lambda data: _png((b"tEXt", b"by\0hand"), (b"eXIf", data)),
            "WebP": _webp,
        }.items()
    },
    "nothing": (1, b""),
    "no EXIF": (1, _JPEG),
    "three bytes": (1, _JPEG[:3]),
    "fill bytes": (1, b"\xff\xd8" + b"\xff" * 50),
    "empty EXIF": (1, with_exif(_JPEG, b"")),
    "no byte order": (1, with_exif(_JPEG, b"\0" * 40)),
    "0": (1, with_exif(_JPEG, exif(0))),
    "9": (1, with_exif(_JPEG, exif(9))),
    "another type": (1, with_exif(_JPEG, exif(6, dtype=4))),
    "cut in the entry": (1, with_exif(_JPEG, exif(6)[:31])),
    "cut after the value": (6, with_exif(_JPEG, exif(6)[:32])),
    "cut in the count": (1, with_exif(_JPEG, exif(6)[:9])),
    "cut in the position": (1, with_exif(_JPEG, exif(6)[:7])),
    "points outside": (1, with_exif(_JPEG, b"II*\0\xff\xff\xff\xff")),
    "too many entries": (1, with_exif(_JPEG, _MANY)),
    "the first of two entries": (
        1,
        with_exif(_JPEG, _directory(_SHORT[:8] + b"\x09\0\0\0", _SHORT)),
    ),
    "the second entry": (6, with_exif(_JPEG, _directory(bytes(12), _SHORT))),
    "the prefix twice": (6, _png((b"eXIf", b"Exif\0\0" + exif(6)))),
    "XMP": (
        1,
        with_segment(_JPEG, 0xE1, b"http://ns.adobe.com/xap/1.0/\0 6"),
    ),
    "XMP before EXIF": (
        6,
        with_segment(with_exif(_JPEG, exif(6)), 0xE1, b"http://ns"),
    ),
    "JFIF before EXIF": (
        8,
        with_segment(with_exif(_JPEG, exif(8)), 0xE0, b"JFIF\0" + bytes(9)),
    ),
    "two EXIF segments": (
        3,
        with_exif(with_exif(_JPEG, exif(6)), exif(3)),
    ),
    # Nothing after the start of the pixels is read.
    "after the pixels": (1, _JPEG[:-2] + with_exif(_JPEG, exif(6))),
    "cut in the segment": (1, with_exif(_JPEG, exif(6))[:20]),
    "a length of one byte": (1, b"\xff\xd8\xff\xe1\x40"),
    "a length below two": (
        1,
        b"\xff\xd8\xff\xe1\0\1Exif\0\0" + exif(6),
    ),
    "a length inside the prefix": (
        1,
        b"\xff\xd8\xff\xe1\0\4Exif\0\0" + exif(6),
    ),
    "junk before a segment": (
        6,
        _JPEG[:2] + b"\0junk\xff\0\xff\xff" + with_exif(_JPEG, exif(6))[2:],
    ),
    "a restart marker before a segment": (
        6,
        _JPEG[:2] + b"\xff\xd0" + with_exif(_JPEG, exif(6))[2:],
    ),
    "the longest gap": (
        6,
        _JPEG[:2] + bytes((1 << 16) - 2) + with_exif(_JPEG, exif(6))[2:],
    ),
    "a longer gap": (
        1,
        _JPEG[:2] + bytes((1 << 16) - 1) + with_exif(_JPEG, exif(6))[2:],
    ),
    "the last segment that is read": (
        6,
        _JPEG[:2] + b"\xff\xd0" * 4_999 + with_exif(_JPEG, exif(6))[2:],
    ),
    "one segment too many": (
        1,
        _JPEG[:2] + b"\xff\xd0" * 5_000 + with_exif(_JPEG, exif(6))[2:],
    ),
    "long chunk": (
        1,
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + exif(6),
    ),
    "the name outside a chunk": (1, _png((b"tEXt", b"eXIf" + exif(6)))),
    "cut in the chunk": (6, _webp(exif(6))[:-4]),
    "RIFF of 16 bytes": (1, b"RIFF\0\0\0\0WEBPEXIF"),
    "RIFF of 20 bytes": (1, b"RIFF\0\0\0\0WEBPEXIF\0\0\0\0"),
    "BMP": (1, _BMP),
}
