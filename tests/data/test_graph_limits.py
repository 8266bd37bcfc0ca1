"""Graphs reject the same images as the eager check, before decoding."""

from __future__ import annotations

import pathlib
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_corpus import damaged
from tests.support.corpus import BAD, GOOD
from tests.support.encoders import black_gif, declaring, with_late_header
from trainer.data import limits
from trainer.data.decode import decode_image, decode_within_limits
from trainer.data.formats import what_is_wrong
from trainer.data.graph_limits import exceeds_limits
from trainer.data.headers import gif_frames

_FILE = tf.TensorSpec((), tf.string)
_decode = tf.function(decode_within_limits, input_signature=[_FILE])
_exceeds = tf.function(exceeds_limits, input_signature=[_FILE])
BAD_BYTES = {
    name: bad.put for name, bad in BAD.items() if isinstance(bad.put, bytes)
}
JPEG, PNG = GOOD["plain.jpg"].encoded, GOOD["plain.png"].encoded
GIF, BMP = GOOD["plain.gif"].encoded, GOOD["plain.bmp"].encoded


def decodes(encoded: bytes) -> bool:
    try:
        _decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError:
        return False
    return True


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_good_images_keep_their_pixels(name: str) -> None:
    encoded = tf.constant(GOOD[name].encoded)
    np.testing.assert_array_equal(_decode(encoded), decode_image(encoded))


@pytest.mark.parametrize("name", BAD_BYTES, ids=ascii)
def test_bad_images_raise(name: str) -> None:
    assert not decodes(BAD_BYTES[name])


@pytest.mark.parametrize(
    "name",
    [
        "plain.jpg", "progressive.jpg", "plain.png", "animated.gif",
        "smaller_screen.gif", "plain.bmp", "plain.webp", "lossy.webp",
        "alpha.webp", "turned.webp",
    ],
)  # fmt: skip
def test_damaged_images_give_the_result_of_the_eager_check(name: str) -> None:
    for encoded in damaged(GOOD[name].encoded, len(name), 100):
        assert decodes(encoded) == (what_is_wrong(encoded) is None), encoded


def _frames(*sizes: tuple[int, int]) -> bytes:
    """Returns a GIF of frames without pixels: a small file of any size."""
    frames = (
        b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\0"
        for size in sizes
    )
    return b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"".join(frames)


def _vp8x(width: int, height: int, length: int = 0) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
        3, "little"
    )
    head = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + sizes
    return head + bytes(length)


@pytest.mark.parametrize(
    ("encoded", "exceeds"),
    [
        # 100 megapixels, and one row or column more.
        pytest.param(
            declaring(PNG, "PNG", (10_000, 10_000)),
            False,
            id="png at the limit",
        ),
        pytest.param(
            declaring(PNG, "PNG", (10_000, 10_001)), True, id="png above it"
        ),
        pytest.param(
            declaring(PNG, "PNG", (2**32 - 1, 2**32 - 1)),
            True,
            id="png of the largest sizes",
        ),
        pytest.param(
            declaring(PNG, "PNG", (1, 2**32 - 1)), True, id="png of one column"
        ),
        pytest.param(with_late_header(PNG), True, id="png with a late header"),
        pytest.param(PNG[:20], False, id="png cut short"),
        pytest.param(
            declaring(BMP, "BMP", (10_000, 10_000)),
            False,
            id="bmp at the limit",
        ),
        pytest.param(
            declaring(BMP, "BMP", (10_000, -10_000)),
            False,
            id="bmp from the top at the limit",
        ),
        pytest.param(
            declaring(BMP, "BMP", (10_000, -10_001)), True, id="bmp above it"
        ),
        pytest.param(
            declaring(BMP, "BMP", (1, -(2**31))),
            True,
            id="bmp of the least height",
        ),
        pytest.param(
            declaring(BMP, "BMP", (-1, -1)),
            False,
            id="bmp of one pixel and minus signs",
        ),
        pytest.param(b"BM", False, id="bmp of two bytes"),
        pytest.param(
            declaring(GIF, "GIF", (10_000, 10_000)),
            False,
            id="gif screen at the limit",
        ),
        pytest.param(
            declaring(GIF, "GIF", (10_000, 10_001)),
            True,
            id="gif screen above it",
        ),
        pytest.param(
            _frames((10_000, 10_000)), False, id="gif frame at the limit"
        ),
        pytest.param(_frames((10_000, 10_001)), True, id="gif frame above it"),
        pytest.param(
            _frames((10_000, 1), (1, 10_000)),
            False,
            id="gif frames span the limit",
        ),
        pytest.param(
            _frames((10_000, 1), (1, 10_001)), True, id="gif frames span more"
        ),
        pytest.param(
            _frames(*[(10_000, 10_000)] * 3),
            False,
            id="gif frames hold the limit",
        ),
        pytest.param(
            _frames(*[(10_000, 10_000)] * 3, (1, 1)),
            True,
            id="gif frames hold more",
        ),
        # Shorter files hold at most 16 megapixels.
        pytest.param(
            declaring(JPEG, "JPEG", (4_000, 4_000)),
            False,
            id="jpeg of few bytes at the limit",
        ),
        pytest.param(
            declaring(JPEG, "JPEG", (4_000, 4_001)),
            True,
            id="jpeg of few bytes above it",
        ),
        pytest.param(
            declaring(JPEG, "JPEG", (10_000, 10_000)) + bytes(195_313),
            False,
            id="jpeg at the limit",
        ),
        pytest.param(
            declaring(JPEG, "JPEG", (10_000, 10_001)) + bytes(195_400),
            True,
            id="jpeg above it",
        ),
        pytest.param(
            _vp8x(4_000, 4_000), False, id="webp of few bytes at the limit"
        ),
        pytest.param(
            _vp8x(4_000, 4_001), True, id="webp of few bytes above it"
        ),
        pytest.param(
            _vp8x(10_000, 10_000, 195_313), False, id="webp at the limit"
        ),
        pytest.param(_vp8x(10_000, 10_001, 195_400), True, id="webp above it"),
        pytest.param(
            _vp8x(2**24, 2**24, 195_400), True, id="webp of the largest sizes"
        ),
        pytest.param(b"RIFF\0\0\0\0WEBP", True, id="webp without a chunk"),
        pytest.param(b"RIFF", True, id="webp of four bytes"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"no image", False, id="no image"),
    ],
)
def test_limits_are_exact_to_the_pixel(encoded: bytes, exceeds: bool) -> None:
    assert bool(_exceeds(tf.constant(encoded))) is exceeds
    assert bool(exceeds_limits(tf.constant(encoded))) is exceeds


def test_a_file_of_too_many_bytes_exceeds_the_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.data.graph_limits.MAX_BYTES", len(PNG) - 1)
    assert exceeds_limits(tf.constant(PNG))
    assert not exceeds_limits(tf.constant(PNG[:-1]))


@pytest.mark.parametrize("more", [0, 1])
def test_too_many_scans_exceed_the_limits(more: int) -> None:
    scans = JPEG.count(b"\xff\xda")
    padded = JPEG + b"\xff\xda" * (limits.MAX_JPEG_SCANS - scans + more)
    assert bool(_exceeds(tf.constant(padded))) is bool(more)
    assert ("scans" in (what_is_wrong(padded) or "")) is bool(more)


def _blocks(*lengths: int) -> bytes:
    return b"".join(bytes([n]) + b"\x2c" * n for n in lengths) + b"\0"


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(_blocks(), id="none"),
        pytest.param(_blocks(1), id="one byte"),
        pytest.param(_blocks(*[255] * 600, 7), id="as most encoders"),
        pytest.param(_blocks(*[254] * 600, 7), id="as gif.js"),
        pytest.param(_blocks(*[255] * 256), id="as many as one step skips"),
        pytest.param(_blocks(*[255] * 257), id="one more"),
        pytest.param(_blocks(*[255] * 258), id="two more"),
        pytest.param(_blocks(*range(1, 256)), id="of every length"),
        pytest.param(_blocks(3, 3, 5, 5, 3), id="alternating"),
    ],
)
def test_blocks_of_a_gif_are_skipped(blocks: bytes) -> None:
    first = _frames((2, 2))[:-1]
    frame = _frames((10_000, 10_001))[13:]
    comment = b"\x21\xfe" + blocks
    for before in (first + blocks, first + blocks + comment):
        assert gif_frames(before + frame).frames == 2
        assert not _exceeds(tf.constant(before))
        assert _exceeds(tf.constant(before + frame))
        # Bytes in blocks or after the end are not frames.
        assert not _exceeds(tf.constant(before + b";" + frame))


def test_too_many_frames_exceed_the_limits() -> None:
    """Only graphs have this limit, because Python counts faster."""
    frames = _frames(*[(1, 1)] * limits.MAX_GIF_STEPS)
    assert not _exceeds(tf.constant(frames))
    assert _exceeds(tf.constant(frames + _frames((1, 1))[13:]))


def test_an_ordinary_animation_is_accepted() -> None:
    gif = black_gif((300, 200), [(300, 200)] * 500)
    assert decodes(gif)
    assert what_is_wrong(gif) is None


class _Served(tf.Module):
    """The bytes signature of an export, without its classifier."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def sizes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "sizes": tf.map_fn(
                lambda one: tf.shape(decode_within_limits(one)),
                encoded,
                fn_output_signature=tf.TensorSpec((3,), tf.int32),
            )
        }


_BOMBS = {
    "34 bytes of WebP, 268 MP": lambda: declaring(
        BAD_BYTES["sparse_WebP.jpg"], "WebP", (16_383, 16_383)
    ),
    "34 bytes of WebP, 100 MP": lambda: BAD_BYTES["sparse_WebP.jpg"],
    "bare WebP": lambda: BAD_BYTES["bare.webp"],
    "JPEG, 100 MP": lambda: BAD_BYTES["sparse_JPEG.jpg"],
    "progressive JPEG, 100 MP": lambda: BAD_BYTES["sparse_progressive.jpg"],
    "progressive JPEG, 169 MP": lambda: declaring(
        GOOD["progressive.jpg"].encoded, "progressive", (13_000, 13_000)
    ),
    "progressive JPEG, 16 MP": lambda: declaring(
        GOOD["progressive.jpg"].encoded, "progressive", (4_000, 4_000)
    ),
    "PNG": lambda: BAD_BYTES["huge.png"],
    "PNG with a late header": lambda: BAD_BYTES["late_header.png"],
    "GIF of 200 frames": lambda: black_gif(
        (2_600, 2_600), [(2_600, 2_600)] * 200
    ),
    "GIF of one frame": lambda: BAD_BYTES["huge_frame.gif"],
    "GIF of crossed frames": lambda: BAD_BYTES["crossed_frames.gif"],
    "GIF of many small blocks": lambda: (
        _frames((2, 2)) + b"\x21\xfe" + b"\1a\2ab" * 500_000 + b"\0"
    ),
    "BMP": lambda: BAD_BYTES["declares_BMP.jpg"],
}  # fmt: skip
_MEASURE = """
import pathlib, resource, sys, time
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def answer(path):
    try:
        serve(tf.constant([pathlib.Path(path).read_bytes()]))
    except tf.errors.InvalidArgumentError:
        return "rejected"
    return "decoded"
answer(sys.argv[2])
for path in sys.argv[2:]:
    before, began = peak(), time.perf_counter()
    print(answer(path), peak() - before, time.perf_counter() - began)
"""


@pytest.mark.slow
def test_decompression_bombs_take_no_memory(tmp_path: pathlib.Path) -> None:
    tf.saved_model.save(_Served(), str(tmp_path / "served"))
    made: dict[str, Callable[[], bytes]] = {"good": lambda: JPEG, **_BOMBS}
    paths = []
    for number, make in enumerate(made.values()):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(make())
    output = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path / "served", *paths],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    lines = dict(zip(made, map(str.split, output.splitlines()), strict=True))
    for name, (answer, kilobytes, seconds) in lines.items():
        legal = name in ("good", "progressive JPEG, 16 MP")
        assert answer == ("decoded" if legal else "rejected"), name
        # Decoded, the images would take 300 MB to 3.8 GB.
        assert int(kilobytes) < 200 * 1024, name
        assert float(seconds) < 5, name
