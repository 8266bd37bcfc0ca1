"""Reads the EXIF orientation of an encoded image in a graph.

`headers.orientation` does the same eagerly. They agree for all bytes, so that
an exported graph shows a photo as training has seen it.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.data.graph_bytes import bytes_at, number, part
from trainer.data.headers import (
    EXIF_ORIENTATION,
    EXIF_PREFIX,
    EXIF_SHORT,
    JPEG_APP1,
    JPEG_END,
    JPEG_LONE,
    JPEG_SCAN,
    UPRIGHT,
)
from trainer.data.limits import MAX_GAP_BYTES, MAX_HEADER_STEPS

_ENTRY_BYTES = 12
# Bytes of an entry up to the end of a short value.
_ENTRY_READ_BYTES = 10
# Length and name of a chunk.
_CHUNK_HEADER_BYTES = 8


def orientation_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG, PNG or WebP.

    Args:
      encoded: string scalar, a whole file.

    Returns:
      int32 scalar, 1 to 8; 1, upright, if there is none or it cannot be read.
    """
    # Dozens of small operations, which are slower on a GPU.
    with tf.device("CPU:0"):
        start = part(encoded, 0, 4)
        exif = tf.case(
            [
                (
                    tf.strings.substr(start, 0, 2) == b"\xff\xd8",
                    lambda: _jpeg_exif(encoded),
                ),
                (
                    start == b"\x89PNG",
                    lambda: png_chunk(encoded, b"eXIf"),
                ),
                (
                    start == b"RIFF",
                    lambda: _chunk(encoded, b"EXIF", start=12, riff=True),
                ),
            ],
            default=lambda: tf.constant(b""),
        )
        prefixed = part(exif, 0, len(EXIF_PREFIX)) == EXIF_PREFIX
        skipped = tf.where(prefixed, len(EXIF_PREFIX), 0)
        return _tiff_orientation(part(exif, skipped, tf.strings.length(exif)))


def png_chunk(encoded: tf.Tensor, wanted: bytes) -> tf.Tensor:
    """Returns the data of the first chunk of a name in a PNG.

    Args:
      encoded: string scalar, the file.
      wanted: the name of the chunk.

    Returns:
      string scalar; empty if there is no such chunk among the first
      MAX_HEADER_STEPS.
    """
    # Most files do not contain the name, and a large one has thousands of
    # chunks.
    pieces = tf.raw_ops.StringSplitV2(
        input=encoded[None], sep=wanted, maxsplit=1
    ).values
    return tf.cond(
        tf.shape(pieces)[0] > 1,
        lambda: _chunk(encoded, wanted, start=8, riff=False),
        lambda: tf.constant(b""),
    )


def _jpeg_exif(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the data of the first EXIF segment before the first scan."""
    length = tf.strings.length(encoded)

    def searching(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (place < length) & (found == b"")

    def step(place: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker, place = _next_marker(encoded, place)
        size = tf.cast(
            number(bytes_at(encoded, place, 2), 0, 2, big_endian=True), tf.int32
        )
        # The decoder reports a truncated length; Python reads what is there.
        size = tf.where(length - place == 1, size // 256, size)
        ends = (marker < 0) | (marker == JPEG_SCAN) | (marker == JPEG_END)
        lone = tf.reduce_any(marker == sorted(JPEG_LONE))
        starts = part(encoded, place + 2, len(EXIF_PREFIX)) == EXIF_PREFIX
        wanted = (marker == JPEG_APP1) & starts
        data = part(encoded, place + 2, tf.maximum(size - 2, 0))
        after = tf.where(lone, place, place + tf.maximum(size, 2))
        return (
            tf.where(ends | wanted, length, after),
            tf.where(wanted, data, found),
        )

    _, found = tf.while_loop(
        searching,
        step,
        (tf.constant(2), tf.constant(b"")),
        parallel_iterations=1,
        maximum_iterations=MAX_HEADER_STEPS,
    )
    return found


def _next_marker(
    encoded: tf.Tensor, place: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the next marker of a JPEG, without stuffing and fill bytes.

    Returns:
      Its second byte, and the position after it; both int32. If there is none
      within MAX_GAP_BYTES, the byte is -1.
    """

    def search() -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.io.decode_raw(part(encoded, place, MAX_GAP_BYTES), tf.uint8)
        second = window[1:]
        hits = (window[:-1] == 0xFF) & (second != 0) & (second != 0xFF)
        # The value at the end counts if there is no hit.
        flags = tf.concat([tf.cast(hits, tf.uint8), [1]], axis=0)
        at = tf.argmax(flags, output_type=tf.int32)
        none = at >= tf.shape(second)[0]
        value = tf.where(
            none, -1, tf.cast(tf.concat([second, [0]], axis=0)[at], tf.int32)
        )
        return value, place + at + 2

    first = tf.cast(bytes_at(encoded, place, 2), tf.int32)
    in_place = (first[0] == 0xFF) & (first[1] != 0) & (first[1] != 0xFF)
    # Searching is slower, and rarely needed.
    return tf.cond(in_place, lambda: (first[1], place + 2), search)


def _chunk(
    encoded: tf.Tensor, wanted: bytes, *, start: int, riff: bool
) -> tf.Tensor:
    """Returns the data of the first chunk of a name; empty if there is none.

    Args:
      encoded: the file.
      wanted: the name of the chunk.
      start: position of the first chunk.
      riff: whether the name is before the little-endian length, and data of
        odd length is padded by one byte, as in a WebP. In a PNG the name is
        after the big-endian length, and a checksum after the data.
    """
    length = tf.cast(tf.strings.length(encoded), tf.int64)

    def searching(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (place + _CHUNK_HEADER_BYTES <= length) & (found < 0)

    def step(place: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at = tf.cast(place, tf.int32)
        size = _chunk_size(encoded, at, riff=riff)
        name = part(encoded, at if riff else at + 4, 4)
        footer = size % 2 if riff else tf.constant(4, tf.int64)
        after = place + _CHUNK_HEADER_BYTES + size + footer
        return (
            tf.minimum(after, length),
            tf.where(name == wanted, at, found),
        )

    _, found = tf.while_loop(
        searching,
        step,
        (tf.constant(start, tf.int64), tf.constant(-1)),
        parallel_iterations=1,
        maximum_iterations=MAX_HEADER_STEPS,
    )
    size = tf.minimum(_chunk_size(encoded, found, riff=riff), length)
    data = part(encoded, found + _CHUNK_HEADER_BYTES, tf.cast(size, tf.int32))
    return tf.where(found < 0, b"", data)


def _chunk_size(
    encoded: tf.Tensor, place: tf.Tensor, *, riff: bool
) -> tf.Tensor:
    """Returns the length that the chunk at a position declares, int64."""
    raw = bytes_at(encoded, place + 4 if riff else place, 4)
    return number(raw, 0, 4, big_endian=not riff)


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in EXIF data, a TIFF without an image."""
    order = part(tiff, 0, 4)
    big_endian = order == b"MM\0*"
    known = big_endian | (order == b"II*\0")
    return tf.cond(
        known,
        lambda: tf.cond(
            big_endian,
            lambda: _directory_orientation(tiff, big_endian=True),
            lambda: _directory_orientation(tiff, big_endian=False),
        ),
        lambda: tf.constant(UPRIGHT),
    )


def _directory_orientation(tiff: tf.Tensor, *, big_endian: bool) -> tf.Tensor:
    """Returns the orientation in the first directory of a TIFF, int32."""
    length = tf.cast(tf.strings.length(tiff), tf.int64)
    start = number(bytes_at(tiff, 4, 4), 0, 4, big_endian=big_endian)
    at = tf.cast(tf.minimum(start, length), tf.int32)
    declared = number(bytes_at(tiff, at, 2), 0, 2, big_endian=big_endian)
    first = at + 2
    # The last entry needs only the bytes that are read here.
    room = length - tf.cast(first, tf.int64) - _ENTRY_READ_BYTES
    readable = tf.maximum(room + _ENTRY_BYTES, 0) // _ENTRY_BYTES
    count = tf.cast(tf.minimum(declared, readable), tf.int32)
    count = tf.where(length < 8, 0, count)
    raw = tf.io.decode_raw(part(tiff, first, count * _ENTRY_BYTES), tf.uint8)
    padding = count * _ENTRY_BYTES - tf.shape(raw)[0]
    padded = tf.cast(tf.pad(raw, ((0, padding),)), tf.int64)
    # One column per byte, so that `number` reads whole columns. No transpose:
    # TensorFlow logs an error where oneDNN cannot transpose integers.
    entries = tf.reshape(padded, (count, _ENTRY_BYTES))
    columns = tf.unstack(entries, axis=1)
    tag = number(columns, 0, 2, big_endian=big_endian)
    dtype = number(columns, 2, 2, big_endian=big_endian)
    values = number(columns, 4, 4, big_endian=big_endian)
    value = number(columns, 8, 2, big_endian=big_endian)
    legal = (dtype == EXIF_SHORT) & (values == 1) & (value >= 1) & (value <= 8)
    orientations = tf.cast(tf.where(legal, value, UPRIGHT), tf.int32)
    # The first entry with the tag counts.
    flags = tf.concat([tf.cast(tag == EXIF_ORIENTATION, tf.uint8), [1]], axis=0)
    which = tf.argmax(flags, output_type=tf.int32)
    return tf.concat([orientations, [UPRIGHT]], axis=0)[which]
