"""Decodes and resizes images; every function runs in graphs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.config.backgrounds import Colour
from trainer.data.graph_bytes import bytes_at, part
from trainer.data.graph_limits import exceeds_limits
from trainer.data.graph_orientation import png_chunk
from trainer.data.headers import WEBP_ANIMATED

# A TFRecord holds 8 bytes of length and 4 of checksum before the payload, and
# 4 of checksum after it.
_RECORD_HEADER_BYTES = 12
_RECORD_FOOTER_BYTES = 4
_BMP_PALETTE_ENTRIES = 256
# Position of the colour type in a PNG, and its bit for alpha.
_PNG_COLOUR_TYPE, _PNG_ALPHA = 25, 4
_RGBA = 4


def decode_image(
    encoded: tf.Tensor, background: Colour | None = None
) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, GIF or WebP, detected by content.

    Grey is repeated over the channels, CMYK is converted, 16-bit channels lose
    their lower 8 bits, and of an animated GIF the first frame is taken. The
    EXIF orientation is not applied.

    A PNG or WebP with alpha is laid on the background. The fourth channel of a
    BMP, which most programs leave at zero, and the transparent index of a GIF
    are ignored.

    The pixels are those of `tf.io.decode_image`, which
    `keras.utils.image_dataset_from_directory` calls, except that the palette
    of a BMP is applied and that a WebP may have alpha.

    Args:
      encoded: string scalar, the whole file.
      background: RGB colour in 0..255; None drops alpha.

    Returns:
      uint8 (h, w, 3), RGB.

    Raises:
      tf.errors.InvalidArgumentError: the image is broken, of another format,
        or an animated WebP.
    """
    start = tf.strings.substr(encoded, 0, 4)

    def decode_other() -> tf.Tensor:
        return tf.io.decode_image(
            _empty_if(~_has_magic(start), encoded),
            channels=3,
            expand_animations=False,
        )

    def decode_png_or_other() -> tf.Tensor:
        if background is None:
            return decode_other()
        return tf.cond(
            (start == b"\x89PNG") & _png_has_alpha(encoded),
            lambda: _laid_on(background, tf.io.decode_png(encoded, channels=4)),
            decode_other,
        )

    image = tf.cond(
        tf.strings.substr(start, 0, 2) == b"BM",
        lambda: _decode_bmp(encoded),
        lambda: tf.cond(
            start == b"RIFF",
            lambda: _decode_webp(encoded, background),
            decode_png_or_other,
        ),
    )
    return tf.ensure_shape(image, (None, None, 3))


def decode_within_limits(
    encoded: tf.Tensor, background: Colour | None = None
) -> tf.Tensor:
    """Decodes an image as `decode_image` does, if its declared size is legal.

    Meant for graphs that decode unchecked images. Training skips this test,
    because `formats.what_is_wrong` has accepted its images. The test takes 7 %
    of the time of decoding and resizing a photo of 256 px, and 2.5 % for one of
    12 megapixels.

    Args:
      encoded: string scalar, the whole file.
      background: see `decode_image`.

    Returns:
      uint8 (h, w, 3), RGB.

    Raises:
      tf.errors.InvalidArgumentError: as `decode_image`; or the image exceeds
        the limits, see `graph_limits.exceeds_limits`.
    """
    return decode_image(_empty_if(exceeds_limits(encoded), encoded), background)


def _has_magic(start: tf.Tensor) -> tf.Tensor:
    """Returns whether four bytes begin a JPEG, PNG or GIF.

    TensorFlow decodes other formats too (JPEG XL in 2.21), whose sizes are
    not checked here.
    """
    jpeg = tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff"
    return jpeg | (start == b"\x89PNG") | (start == b"GIF8")


def _empty_if(rejected: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Returns `encoded`, or if rejected b"", on which every decoder fails."""
    return tf.where(rejected, b"", encoded)


def _png_has_alpha(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether a PNG has alpha, or a palette or colour for it.

    For other images `decode_png` would add alpha, which is wrong below 8 bits
    per channel.
    """
    colour_type = bytes_at(encoded, _PNG_COLOUR_TYPE, 1)[0]
    return (colour_type & _PNG_ALPHA > 0) | (png_chunk(encoded, b"tRNS") != b"")


def _laid_on(background: Colour, image: tf.Tensor) -> tf.Tensor:
    """Returns an image on a colour: alpha image + (1 - alpha) colour.

    Args:
      background: RGB colour in 0..255.
      image: uint8 (h, w, 4), RGB and alpha.

    Returns:
      uint8 (h, w, 3), rounded to the nearest number.
    """
    # At most 255 * 255 + 127, which fits.
    colours = tf.cast(image[..., :3], tf.uint16)
    alpha = tf.cast(image[..., 3:], tf.uint16)
    behind = tf.constant(background, tf.uint16)
    mixed = colours * alpha + behind * (255 - alpha)
    return tf.cast((mixed + 127) // 255, tf.uint8)


def _decode_webp(
    encoded: tf.Tensor, background: Colour | None = None
) -> tf.Tensor:
    # In TensorFlow 2.21 an animation without alpha corrupts the heap and so
    # ends the process. Animations set a flag; see `headers.webp_is_animated`.
    flags = tf.io.decode_raw(part(encoded, 20, 1), tf.uint8)
    animated = tf.reduce_any(tf.bitwise.bitwise_and(flags, WEBP_ANIMATED) > 0)
    rejected = animated & (part(encoded, 12, 4) == b"VP8X")
    frames = tf.io.decode_webp(_empty_if(rejected, encoded), channels=0)
    image = frames[0]
    if background is None:
        return image[..., :3]
    return tf.cond(
        tf.shape(image)[-1] == _RGBA,
        lambda: _laid_on(background, image),
        lambda: image[..., :3],
    )


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # With channels=3 this fails, or shows palette indices as grey levels.
    image = tf.io.decode_bmp(encoded, channels=0)
    return tf.cond(
        tf.shape(image)[-1] == 1,
        lambda: tf.gather(
            _bmp_palette(encoded), tf.cast(image[..., 0], "int32")
        ),
        lambda: image[..., :3],
    )


def _bmp_palette(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the RGB colour of each index of an 8-bit BMP, uint8 (256, 3).

    The file header has 14 bytes, with the position of the pixels at byte 10.
    The second header follows and begins with its own length. Between that
    header and the pixels are entries of 4 bytes: B, G, R, 0.
    """
    fields = tf.io.decode_raw(part(encoded, 10, 8), tf.int32)
    start = 14 + fields[1]
    entries = tf.clip_by_value(
        (fields[0] - start) // 4, 0, _BMP_PALETTE_ENTRIES
    )
    raw = tf.io.decode_raw(part(encoded, start, 4 * entries), tf.uint8)
    palette = tf.reshape(raw, (entries, 4))[:, 2::-1]
    # Indices without an entry are grey levels: a file without a palette is a
    # grey image.
    grey = tf.cast(tf.range(entries, _BMP_PALETTE_ENTRIES), tf.uint8)
    return tf.concat([palette, tf.tile(grey[:, None], (1, 3))], axis=0)


def read_record(
    path: tf.Tensor, offset: tf.Tensor, length: tf.Tensor
) -> tf.data.Dataset:
    """Reads one record of a TFRecord file, and little else of the file.

    Returns a dataset, not a tensor: a map that reads a dataset inside does not
    run in parallel if operations have to be deterministic.

    Args:
      path: string scalar.
      offset: int64 scalar, the position of the record's payload.
      length: int64 scalar, bytes of the payload.

    Returns:
      A dataset of one string scalar, the payload. Iterating raises
      tf.errors.OpError if the file cannot be read or the record's checksum
      does not match.
    """
    # This op seeks and reads at most one buffer; FixedLengthRecordDataset would
    # read everything before the record.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        buffer_size=_RECORD_HEADER_BYTES + length + _RECORD_FOOTER_BYTES,
        byte_offsets=[offset - _RECORD_HEADER_BYTES],
        metadata="",
    )
    spec = tf.TensorSpec((), tf.string)
    return tf.data.experimental.from_variant(variant, spec).take(1)


def image_of_record(
    record: tf.Tensor, key: str, shape: tuple[int, ...] | None = None
) -> tf.Tensor:
    """Returns the encoded image in a record.

    Args:
      record: string scalar, a `tf.train.Example`.
      key: name of the feature that holds the image.
      shape: of the pixels that the feature holds as numbers, which are encoded
        as PNG here; None if it holds an encoded image.

    Returns:
      string scalar.

    Raises:
      tf.errors.OpError: the record has no such feature.
    """
    found = tf.io.parse_single_example(record, {key: image_feature(shape)})[key]
    if shape is None:
        return found
    # Without compression, so that another version writes the same bytes.
    return tf.io.encode_png(tf.cast(found, tf.uint8), compression=0)


def image_feature(shape: tuple[int, ...] | None) -> Any:
    """Returns the form of the image in a record; see `image_of_record`."""
    if shape is None:
        return tf.io.FixedLenFeature((), tf.string)
    return tf.io.FixedLenFeature(shape, tf.int64)
