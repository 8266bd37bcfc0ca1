"""Reads bytes and numbers of an encoded image in a graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def part(
    encoded: tf.Tensor, start: tf.Tensor | int, length: tf.Tensor | int
) -> tf.Tensor:
    """Returns up to `length` bytes from `start` on; fewer at the end.

    `tf.strings.substr` fails if `start` is outside. Its message holds the
    whole string, which is not text, so Python raises UnicodeDecodeError.
    """
    start = tf.clip_by_value(start, 0, tf.strings.length(encoded))
    return tf.strings.substr(encoded, start, length)


def bytes_at(
    encoded: tf.Tensor, start: tf.Tensor | int, count: int
) -> tf.Tensor:
    """Returns int64 (count,), bytes from `start`, zeros after the end."""
    found = tf.io.decode_raw(part(encoded, start, count), tf.uint8)
    padded = tf.pad(found, ((0, count - tf.shape(found)[0]),))
    return tf.cast(tf.ensure_shape(padded, (count,)), tf.int64)


def number(
    bytes_: tf.Tensor | Sequence[tf.Tensor],
    start: int,
    count: int,
    *,
    big_endian: bool = False,
) -> tf.Tensor:
    """Returns the unsigned number in `count` bytes, int64 scalar."""
    order = range(count)[:: -1 if big_endian else 1]
    return tf.add_n(
        [bytes_[start + i] * 256**place for place, i in enumerate(order)]
    )
