"""Facts about the pixels of each image, computed once and cached."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from trainer import interrupt
from trainer.cache import RowCache
from trainer.cache.segments import RowSpec
from trainer.data.check import read_encoded_image
from trainer.data.decode import decode_image
from trainer.data.headers import declared_size, orientation
from trainer.data.samples import Samples
from trainer.data.signatures import format_of
from trainer.doctor.near import SIDE
from trainer.errors import TrainerError
from trainer.native_logs import native_notes_hidden

# The short side of a JPEG that is decoded at a half, a quarter or an eighth of
# its size stays at least this long, four pixels for one of the thumbnail.
_DECODED_PX = 4 * SIDE
_BLOCK, _IMAGES_PER_TASK = 1024, 16
# Pixel values that are held as float32 at a time.
_FLOATS = 1 << 20
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601.
_SPECS = (
    RowSpec(shape=(SIDE, SIDE), dtype="uint8"),
    RowSpec(shape=(5,), dtype="float32"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """Facts about the pixels of n images.

    Attributes:
      thumbnails: uint8 (n, 32, 32), grey levels, upright by EXIF.
      widths: int64 (n,), pixels, as stored.
      heights: int64 (n,), pixels, as stored.
      brightness: float32 (n,), mean grey level, in [0, 255].
      contrast: float32 (n,), standard deviation of the thumbnail's levels.
      colour: float32 (n,), largest difference of two channels of a pixel of
        the thumbnail in colour, in [0, 255].
    """

    thumbnails: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    colour: np.ndarray


def look_at(
    samples: Samples,
    cache: RowCache,
    *,
    report: Callable[[str, int, int], None],
    warn: Callable[[str], None],
) -> Looks:
    """Decodes every image once, on all cores, and returns its facts.

    Args:
      samples: readable samples, with digests.
      cache: holds the facts of images that were decoded before.
      report: called with "images", the number done and the total.
      warn: called with a message if the cache cannot be used.

    Raises:
      Stopped: a signal arrived.
      TrainerError: an image has changed since it was checked.
    """

    def compute(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
        return _blocks(samples, rows, report)

    found = cache.rows(
        samples.digests,
        key_fields={
            "kind": "looks of pixels",
            "format": 1,
            "tensorflow": tf.__version__,
        },
        specs=_SPECS,
        compute=compute,
        warn=warn,
    )
    everything = np.arange(len(samples))
    if found is None:
        blocks = list(compute(everything))
        parts = [np.concatenate(part) for part in zip(*blocks, strict=True)]
    else:
        parts = found.read(everything)
    thumbnails, facts = parts
    return Looks(
        thumbnails=thumbnails,
        widths=facts[:, 0].astype(np.int64),
        heights=facts[:, 1].astype(np.int64),
        brightness=facts[:, 2],
        contrast=facts[:, 3],
        colour=facts[:, 4],
    )


def _blocks(
    samples: Samples,
    rows: np.ndarray,
    report: Callable[[str, int, int], None],
) -> Iterator[list[np.ndarray]]:
    def look_at_some(numbers: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
        return [_look_at_row(samples, row) for row in numbers]

    with (
        native_notes_hidden(),
        # Threads of NumPy's products would compete with those of the pool.
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK].tolist()
            tasks = [
                some[task : task + _IMAGES_PER_TASK]
                for task in range(0, len(some), _IMAGES_PER_TASK)
            ]
            found = list(
                itertools.chain.from_iterable(pool.map(look_at_some, tasks))
            )
            interrupt.check()
            report("images", start + len(some), len(rows))
            yield [np.stack(part) for part in zip(*found, strict=True)]


def _look_at_row(samples: Samples, row: int) -> tuple[np.ndarray, ...]:
    changed = TrainerError(
        f"{samples.paths[row]}: has changed since it was checked; run the same"
        " command again"
    )
    encoded = read_encoded_image(samples, row)
    image_format = format_of(encoded) if encoded else None
    if encoded is None or image_format is None:
        raise changed
    width, height = declared_size(encoded, image_format)
    try:
        pixels = _decoded(encoded, image_format, min(width, height))
    except tf.errors.OpError:
        raise changed from None
    colours = small_image(pixels)
    grey = colours @ _GREY_WEIGHTS
    facts = [
        width,
        height,
        grey.mean(),
        grey.std(),
        (colours.max(-1) - colours.min(-1)).max(),
    ]
    upright = turned(grey, orientation(encoded))
    thumbnail = np.clip(np.rint(upright), 0, 255).astype(np.uint8)
    return thumbnail, np.array(facts, np.float32)


def _decoded(encoded: bytes, image_format: str, short_px: int) -> np.ndarray:
    """Returns uint8 (h, w, 3); a large JPEG is decoded at a smaller size."""
    if image_format == "JPEG":
        ratio = next((r for r in (8, 4, 2) if short_px // r >= _DECODED_PX), 1)
        return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio).numpy()
    return decode_image(tf.constant(encoded)).numpy()


def small_image(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Returns the mean colour of each cell of a grid that covers an image.

    The aspect ratio is ignored. A pixel at a cell's border counts in part, so
    copies of other sizes have nearly the same means.

    Args:
      pixels: uint8 (h, w, channels).
      side: number of cells along each axis.

    Returns:
      float32 (side, side, channels), in [0, 255].
    """
    height, width = pixels.shape[:2]
    rows = _cell_weights(height, side)
    values = pixels.reshape(height, -1)
    narrow = np.zeros((side, values.shape[1]), np.float32)
    lines = max(1, _FLOATS // values.shape[1])
    for start in range(0, height, lines):
        part = values[start : start + lines].astype(np.float32)
        narrow += rows[:, start : start + lines] @ part
    return _cell_weights(width, side) @ narrow.reshape(side, width, -1)


def _cell_weights(size: int, side: int) -> np.ndarray:
    """Returns float32 (side, size), the part of each pixel in each cell."""
    edges = np.linspace(0, size, side + 1)
    at = np.arange(size)
    shared = np.minimum(edges[1:, None], at + 1) - np.maximum(
        edges[:-1, None], at
    )
    weights = np.maximum(shared, 0) / (size / side)
    return weights.astype(np.float32)


def turned(image: np.ndarray, exif: int) -> np.ndarray:
    """Returns a square image as its EXIF orientation means it to be seen.

    Args:
      image: (n, n).
      exif: 1 to 8, see EXIF 2.3, table 4.
    """
    steps = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: x.T[:, ::-1],
        7: lambda x: x.T[::-1, ::-1],
        8: lambda x: x.T[::-1],
    }
    return steps[exif](image)
