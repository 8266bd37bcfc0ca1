"""From bytes on disk to an image of one size; everything runs in graphs."""

from __future__ import annotations

import tensorflow as tf

from trainer.data.graph_limits import exceeds_limits, part
from trainer.data.headers import WEBP_ANIMATED

# A TFRecord holds 8 bytes of length and 4 of checksum before the payload, and
# 4 of checksum behind it.
_RECORD_HEADER_BYTES = 12
_RECORD_FOOTER_BYTES = 4
_BMP_PALETTE_ENTRIES = 256


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, GIF or WebP, told apart by content.

    Grey is repeated over the channels, alpha is dropped, CMYK is converted,
    16 bits a channel lose the lower 8, an animated GIF gives its first frame.
    The EXIF orientation is not applied.
    The pixels are those of `tf.io.decode_image`, which is what
    `keras.utils.image_dataset_from_directory` calls, except that the palette
    of a BMP is honoured, and that a WebP may have alpha.

    Args:
      encoded: string scalar, the whole file.

    Returns:
      uint8 (h, w, 3), RGB.

    Raises:
      tf.errors.InvalidArgumentError: not such an image, or a broken one; or
        an animated WebP.
    """
    start = tf.strings.substr(encoded, 0, 4)
    image = tf.cond(
        tf.strings.substr(start, 0, 2) == b"BM",
        lambda: _decode_bmp(encoded),
        lambda: tf.cond(
            start == b"RIFF",
            lambda: _decode_webp(encoded),
            lambda: tf.io.decode_image(
                _none_if(~_has_magic(start), encoded),
                channels=3,
                expand_animations=False,
            ),
        ),
    )
    return tf.ensure_shape(image, (None, None, 3))


def decode_within_limits(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image as `decode_image` does, if its declared size is legal.

    For graphs that decode what nobody has checked. Training decodes what
    `formats.what_is_wrong` has accepted, and does without: looking takes 7 % of
    decoding and resizing a photo of 256 px, and 2.5 % of one of 12 megapixels.

    Args:
      encoded: string scalar, the whole file.

    Returns:
      uint8 (h, w, 3), RGB.

    Raises:
      tf.errors.InvalidArgumentError: as `decode_image`; or the image exceeds
        the limits, see `graph_limits.exceeds_limits`.
    """
    return decode_image(_none_if(exceeds_limits(encoded), encoded))


def _has_magic(start: tf.Tensor) -> tf.Tensor:
    """Whether four bytes begin a JPEG, PNG or GIF.

    TensorFlow may decode further kinds, JPEG XL in 2.21, which nothing here
    has looked at.
    """
    jpeg = tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff"
    return jpeg | (start == b"\x89PNG") | (start == b"GIF8")


def _none_if(refused: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Nothing, at which every decoder fails, where `refused` holds."""
    return tf.where(refused, b"", encoded)


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    # An animation without alpha corrupts the heap in TensorFlow 2.21, and so
    # ends the process. A flag announces one; see `headers.webp_is_animated`.
    flags = tf.io.decode_raw(part(encoded, 20, 1), tf.uint8)
    animated = tf.reduce_any(tf.bitwise.bitwise_and(flags, WEBP_ANIMATED) > 0)
    refused = animated & (part(encoded, 12, 4) == b"VP8X")
    frames = tf.io.decode_webp(_none_if(refused, encoded), channels=0)
    return frames[0, ..., :3]


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # Asking for three channels would fail, or show palette indices as grey.
    image = tf.io.decode_bmp(encoded, channels=0)
    return tf.cond(
        tf.shape(image)[-1] == 1,
        lambda: tf.gather(
            _bmp_palette(encoded), tf.cast(image[..., 0], "int32")
        ),
        lambda: image[..., :3],
    )


def _bmp_palette(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 (256, 3): what each index of an 8-bit BMP stands for, RGB.

    The file header is 14 bytes long; at byte 10 it says where the pixels
    begin, and the second header, which begins with its own length, follows.
    Between that header and the pixels stand entries of 4 bytes: B, G, R, 0.
    """
    fields = tf.io.decode_raw(part(encoded, 10, 8), tf.int32)
    start = 14 + fields[1]
    entries = tf.clip_by_value(
        (fields[0] - start) // 4, 0, _BMP_PALETTE_ENTRIES
    )
    raw = tf.io.decode_raw(part(encoded, start, 4 * entries), tf.uint8)
    palette = tf.reshape(raw, (entries, 4))[:, 2::-1]
    # Indices without an entry are grey levels, so a file without a palette is
    # a grey image.
    grey = tf.cast(tf.range(entries, _BMP_PALETTE_ENTRIES), tf.uint8)
    return tf.concat([palette, tf.tile(grey[:, None], (1, 3))], axis=0)


def resize(image: tf.Tensor, image_px: int) -> tf.Tensor:
    """Stretches an image to a square.

    Bilinear, without antialiasing, the aspect ratio not kept: what
    `keras.utils.image_dataset_from_directory(interpolation='bilinear')` does,
    rounded to whole numbers, half to even. So an image can be kept in a byte
    a value, and it makes no difference whether it was.

    Args:
      image: uint8 (h, w, 3).
      image_px: the side of the result, in pixels.

    Returns:
      float32 (image_px, image_px, 3), whole numbers in 0..255.
    """
    size = (image_px, image_px)
    resized = tf.image.resize(image, size, method="bilinear")
    # Of an image that already has that size, `resize` keeps the dtype.
    whole = tf.round(tf.cast(resized, tf.float32))
    return tf.ensure_shape(whole, (*size, 3))


def read_record(
    path: tf.Tensor, offset: tf.Tensor, length: tf.Tensor
) -> tf.data.Dataset:
    """Reads one record of a TFRecord file, and little else of the file.

    A dataset, and not a tensor: a map in which a dataset is read does not run
    in parallel where operations have to be deterministic.

    Args:
      path: string scalar.
      offset: int64 scalar, where the record's payload begins.
      length: int64 scalar, bytes of the payload.

    Returns:
      One string scalar, the payload. Iterating raises tf.errors.OpError where
      the file cannot be read, or the record's checksum does not match.
    """
    # The op seeks, and reads no more than its buffer holds;
    # FixedLengthRecordDataset would read all that stands before the record.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        buffer_size=_RECORD_HEADER_BYTES + length + _RECORD_FOOTER_BYTES,
        byte_offsets=[offset - _RECORD_HEADER_BYTES],
        metadata="",
    )
    spec = tf.TensorSpec((), tf.string)
    return tf.data.experimental.from_variant(variant, spec).take(1)


def image_of_record(record: tf.Tensor, key: str) -> tf.Tensor:
    """The encoded image in a record.

    Args:
      record: string scalar, a `tf.train.Example`.
      key: of the bytes feature that holds it.

    Returns:
      string scalar.

    Raises:
      tf.errors.OpError: the record has no such feature.
    """
    feature = tf.io.FixedLenFeature((), tf.string)
    return tf.io.parse_single_example(record, {key: feature})[key]
