"""Compares the declared size of an encoded image with the limits, in a graph.

`formats.what_is_wrong` does the same eagerly and explains the result. An
exported graph has no other protection: the decoders allocate whatever memory
a request of 34 bytes declares.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.data.graph_bytes import bytes_at, number, part
from trainer.data.limits import (
    MAX_BYTES,
    MAX_GIF_PIXELS,
    MAX_GIF_STEPS,
    MAX_JPEG_SCANS,
    MAX_PIXELS,
    MAX_PIXELS_PER_BYTE,
    MAX_SPARSE_PIXELS,
)

# These hold all sizes except those of a JPEG and of the frames of a GIF.
_HEAD_BYTES = 30
_SCAN = b"\xff\xda"
_GIF_HEADER_BYTES = 13
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21
_GIF_FRAME_BYTES = 10
# Blocks of equal length in a GIF that one step skips.
_BLOCKS_PER_STEP = 256


def exceeds_limits(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether decoding would take too much memory or time.

    Applies the size limits of `formats.what_is_wrong`. In addition a GIF of
    more than about 5,000 frames (MAX_GIF_STEPS) exceeds the limits, because a
    graph counts frames more slowly than Python. Within the limits a decoder
    takes at most 1.2 GB, for a progressive CMYK JPEG of 100 megapixels.

    Args:
      encoded: string scalar, a whole file.

    Returns:
      bool scalar; False for other formats, which no decoder accepts.

    Raises:
      tf.errors.InvalidArgumentError: a JPEG without a readable header.
    """
    # Dozens of small operations, which are slower on a GPU.
    with tf.device("CPU:0"):
        start = part(encoded, 0, 4)
        head = bytes_at(encoded, 0, _HEAD_BYTES)
        too_large = tf.case(
            [
                (
                    tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff",
                    lambda: _jpeg_exceeds(encoded),
                ),
                (start == b"\x89PNG", lambda: _png_exceeds(encoded, head)),
                (start == b"RIFF", lambda: _webp_exceeds(encoded, head)),
                (start == b"GIF8", lambda: _gif_exceeds(encoded, head)),
                (
                    tf.strings.substr(start, 0, 2) == b"BM",
                    lambda: _bmp_exceeds(head),
                ),
            ],
            default=lambda: tf.constant(False),
        )
        return too_large | (tf.strings.length(encoded) > MAX_BYTES)


def _too_sparse(encoded: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Returns whether a file is too short for the pixels that it declares."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    return pixels > tf.maximum(
        tf.constant(MAX_SPARSE_PIXELS, tf.int64), length * MAX_PIXELS_PER_BYTE
    )


def _jpeg_exceeds(encoded: tf.Tensor) -> tf.Tensor:
    # The decoder's own function for the header, which allocates no pixels.
    size = tf.io.extract_jpeg_shape(encoded, output_type=tf.int32)
    pixels = tf.reduce_prod(tf.cast(size[:2], tf.int64))
    # Bounded, because a file may consist of nothing but scans.
    pieces = tf.raw_ops.StringSplitV2(
        input=encoded[None], sep=_SCAN, maxsplit=MAX_JPEG_SCANS + 1
    ).values
    return (
        (pixels > MAX_PIXELS)
        | _too_sparse(encoded, pixels)
        | (tf.shape(pieces)[0] - 1 > MAX_JPEG_SCANS)
    )


def _png_exceeds(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    width = number(head, 16, 4, big_endian=True)
    height = number(head, 20, 4, big_endian=True)
    # libpng skips other chunks before the one that has the size.
    misplaced = part(encoded, 12, 4) != b"IHDR"
    return misplaced | _product_exceeds(width, height)


def _bmp_exceeds(head: tf.Tensor) -> tf.Tensor:
    # The height is negative if the rows go from top to bottom.
    width, height = (
        tf.minimum(value, (1 << 32) - value)
        for value in (number(head, 18, 4), number(head, 22, 4))
    )
    return _product_exceeds(width, height)


def _product_exceeds(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """Returns whether width x height is above MAX_PIXELS; each has 32 bits."""
    # Their product may have 64 bits, and int64 holds 63.
    return (width > MAX_PIXELS) | (
        width * tf.minimum(height, MAX_PIXELS + 1) > MAX_PIXELS
    )


def _webp_exceeds(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    chunk = part(encoded, 12, 4)
    packed = number(head, 21, 4)
    extended = tf.stack([number(head, 24, 3), number(head, 27, 3)]) + 1
    lossless = tf.stack([packed & 0x3FFF, packed // 2**14 & 0x3FFF]) + 1
    lossy = tf.stack([number(head, 26, 2), number(head, 28, 2)]) & 0x3FFF
    size = tf.where(
        chunk == b"VP8X", extended, tf.where(chunk == b"VP8L", lossless, lossy)
    )
    pixels = tf.reduce_prod(size)
    # libwebp accepts pixels without a chunk around them, with the size
    # elsewhere.
    unknown = tf.reduce_all(chunk != [b"VP8X", b"VP8L", b"VP8 "])
    return unknown | (pixels > MAX_PIXELS) | _too_sparse(encoded, pixels)


def _gif_exceeds(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Adds up the frames of a GIF, all of which the decoder unpacks.

    The decoder allocates memory for the widest and the highest frame, whatever
    size the header declares.
    """
    length = tf.strings.length(encoded)
    start = _GIF_HEADER_BYTES + _gif_table_bytes(head[10])

    def excess(pixels: tf.Tensor, width: tf.Tensor, height: tf.Tensor) -> Any:
        return (pixels > MAX_GIF_PIXELS) | (width * height > MAX_PIXELS)

    def unread(place: tf.Tensor, _: tf.Tensor, *sizes: tf.Tensor) -> tf.Tensor:
        return (place < length) & ~excess(*sizes)

    def step(
        place: tf.Tensor,
        inside: tf.Tensor,
        pixels: tf.Tensor,
        width: tf.Tensor,
        height: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        record = bytes_at(encoded, place, _GIF_FRAME_BYTES)
        frame = ~inside & (record[0] == _GIF_FRAME)
        wide = tf.where(frame, number(record, 5, 2), 0)
        high = tf.where(frame, number(record, 7, 2), 0)
        # A frame's colour table is followed by one byte, the size of a code.
        data = place + 11 + _gif_table_bytes(record[9])
        # Anything other than a frame or an extension ends the file.
        other = tf.where(record[0] == _GIF_EXTENSION, place + 2, length)
        blocks = tf.where(inside, place, tf.where(frame, data, other))
        place, inside = _after_blocks(encoded, blocks)
        return (
            place,
            inside,
            pixels + wide * high,
            tf.maximum(width, wide),
            tf.maximum(height, high),
        )

    none = tf.constant(0, tf.int64)
    place, _, *sizes = tf.while_loop(
        unread,
        step,
        (start, tf.constant(False), none, none, none),
        parallel_iterations=1,
        maximum_iterations=MAX_GIF_STEPS,
    )
    screen = number(head, 6, 2) * number(head, 8, 2)
    return (screen > MAX_PIXELS) | excess(*sizes) | (place < length)


def _gif_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Returns the bytes of the colour table that flags declare, int32."""
    table = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags & 7)
    return tf.cast(tf.where(flags & 0x80 > 0, table, 0), tf.int32)


def _after_blocks(
    encoded: tf.Tensor, place: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Skips blocks, which begin with their own length, up to an empty one.

    Encoders write blocks of one length, 255 or 254, and a shorter one at the
    end. One call skips up to _BLOCKS_PER_STEP blocks of the first one's length
    and one more.

    Returns:
      The position after them, and whether the next byte is another block's
      length.
    """
    stride = 1 + _byte(encoded, place)
    window = tf.io.decode_raw(
        part(encoded, place, _BLOCKS_PER_STEP * stride), tf.uint8
    )
    other = tf.cast(window[::stride], tf.int32) != stride - 1
    # The stop at the end counts if there is no other one.
    stops = tf.concat([tf.cast(other, tf.uint8), [1]], axis=0)
    run = tf.argmax(stops, output_type=tf.int32)
    # An empty block ends the run before it begins.
    place += tf.where(stride > 1, run * stride, 0)
    last = _byte(encoded, place)
    after = place + 1 + last
    inside = (last > 0) & (_byte(encoded, after) > 0)
    # If there is a block at `place`, the empty one follows it.
    return tf.where(inside | (last == 0), after, after + 1), inside


def _byte(encoded: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns one byte of a file, 0 after its end; int32 scalar."""
    return tf.cast(bytes_at(encoded, place, 1)[0], tf.int32)
