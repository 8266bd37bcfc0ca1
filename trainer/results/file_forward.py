"""Runs a function over image files, with rows for those that are bad."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.formats import unfit_to_read, what_is_wrong
from trainer.data.headers import UPRIGHT, orientation
from trainer.data.rendering import Rendering, render
from trainer.errors import UsageError, first_line, reason_of
from trainer.storage import files

# Computes features (n, ...) of float32 images (n, px, px, 3) in 0..255.
Features = Callable[[np.ndarray], list[np.ndarray]]
# Number of batches that are read while one is computed.
_READ_AHEAD = 2


class FileOutput(NamedTuple):
    """The output for one file.

    Attributes:
      path: as given.
      output: a row of what the function returned; None if the file cannot be
        read.
      error: the reason why the file cannot be read; empty if it can.
      orientation: from its EXIF data, 1 to 8; 1 is upright.
    """

    path: str
    output: np.ndarray | None
    error: str
    orientation: int = UPRIGHT


class _Read(NamedTuple):
    """The result of reading one file.

    Attributes:
      arrays: input of the forward pass, the image or its features; None if
        the file cannot be read.
      error: see `FileOutput`.
      orientation: see `FileOutput`.
    """

    arrays: list[np.ndarray] | None
    error: str = ""
    orientation: int = UPRIGHT


class FileForward:
    """Reads files and runs a forward pass on batches of them."""

    def __init__(
        self,
        forward: Callable[[dict[str, Any]], tf.Tensor],
        *,
        image_px: int,
        rendering: Rendering,
        batch_size: int,
        trunk: Features | None,
        shapes: tuple[tuple[int, ...], ...],
    ) -> None:
        """Creates the reader.

        Args:
          forward: maps a batch, `images` or `features`, to rows (n, ...).
          image_px: side of the images.
          rendering: how images are decoded and resized.
          batch_size: files per forward pass.
          trunk: computes the features of one file at a time; None gives images
            to `forward`.
          shapes: of the trunk's features, of one file; not read without one.
        """
        self._forward = forward
        self._batch_size = batch_size
        self._image_px = image_px
        self._rendering = rendering
        self._trunk = trunk
        self._shapes = shapes if trunk else ((image_px, image_px, 3),)

    def run(self, paths: Sequence[str]) -> Iterator[FileOutput]:
        """Yields one output per path, in order, bad files included."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pending: deque[list[Future[_Read]]] = deque()
            starts = range(0, len(paths), self._batch_size)
            for number, start in enumerate(starts):
                chunk = paths[start : start + self._batch_size]
                pending.append([pool.submit(self._read, p) for p in chunk])
                if number >= _READ_AHEAD:
                    yield from self._batch(
                        paths, starts[number - _READ_AHEAD], pending.popleft()
                    )
            for start in starts[max(0, len(starts) - len(pending)) :]:
                yield from self._batch(paths, start, pending.popleft())

    def of_encoded(self, encoded: bytes) -> FileOutput:
        """Returns the output for an encoded image without a file."""
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(self._decoded, encoded)
            (found,) = self._batch([""], 0, [read])
        return found

    def _read(self, path: str) -> _Read:
        try:
            # Check before opening: reading a pipe would block.
            found = files.stat(path)
            unfit = unfit_to_read(found.st_mode, found.st_size)
            if unfit:
                return _Read(None, unfit)
            encoded = files.read(path)
        # A NUL byte raises ValueError, an unsupported URL UsageError.
        except (OSError, ValueError, UsageError) as error:
            return _Read(None, f"cannot be read ({reason_of(error)})")
        return self._decoded(encoded)

    def _decoded(self, encoded: bytes) -> _Read:
        wrong = what_is_wrong(encoded)
        if wrong is not None:
            return _Read(None, wrong)
        try:
            image = render(
                tf.constant(encoded), self._image_px, self._rendering
            )
        except tf.errors.OpError as error:
            # The check above decodes only part of a JPEG.
            return _Read(None, f"cannot be decoded ({first_line(error)})")
        arrays = [image.numpy()]
        if self._trunk is not None:
            arrays = [rows[0] for rows in self._trunk(arrays[0][None])]
        return _Read(arrays, orientation=orientation(encoded))

    def _batch(
        self,
        paths: Sequence[str],
        start: int,
        futures: Sequence[Future[_Read]],
    ) -> Iterator[FileOutput]:
        read = [future.result() for future in futures]
        good = [file.arrays for file in read if file.arrays is not None]
        # All batches have the same shape, so the graph is traced once.
        inputs = [
            np.zeros((self._batch_size, *shape), np.float32)
            for shape in self._shapes
        ]
        if good:
            for whole, rows in zip(
                inputs, zip(*good, strict=True), strict=True
            ):
                whole[: len(good)] = rows
            batch = (
                {"images": tf.constant(inputs[0])}
                if self._trunk is None
                else {"features": tuple(tf.constant(x) for x in inputs)}
            )
            outputs = iter(self._forward(batch).numpy())
        for offset, file in enumerate(read):
            yield FileOutput(
                paths[start + offset],
                None if file.arrays is None else next(outputs),
                file.error,
                file.orientation,
            )
