"""Predictions for files: class names and probabilities, as CSV."""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TextIO

import numpy as np
import tensorflow as tf

from trainer.data.decode import decode_image, resize
from trainer.data.folder import SUFFIXES, walk_images
from trainer.data.formats import unfit_to_read, what_is_wrong
from trainer.data.headers import UPRIGHT, orientation
from trainer.data.samples import printable
from trainer.errors import TrainerError, UsageError, first_line, reason_of
from trainer.model.classifier import Classifier
from trainer.model.trunk.engines import Trunk
from trainer.model.trunk.partition import Partition
from trainer.results.escaping import (
    csv_line,
    for_csv,
    for_terminal,
    path_for_csv,
)
from trainer.storage import files
from trainer.train.steps import make_prediction_function

# Batches that are read while one is computed.
_READ_AHEAD = 2
_DIGITS = 6


class Prediction(NamedTuple):
    """What is said of one file.

    Attributes:
      path: as it was given.
      probabilities: float32 (classes,), which add up to 1; None where the
        file cannot be read.
      error: why it cannot; empty where it can.
      orientation: by its EXIF data, 1 to 8; 1 is upright.
    """

    path: str
    probabilities: np.ndarray | None
    error: str
    orientation: int = UPRIGHT


class _Read(NamedTuple):
    """A file that was read.

    Attributes:
      parts: what the pass takes of it, the image or its features; None where
        there is nothing.
      error: why there is none.
      orientation: see `Prediction`.
    """

    parts: list[np.ndarray] | None
    error: str = ""
    orientation: int = UPRIGHT


def find_inputs(inputs: str, stdin: TextIO = sys.stdin) -> list[str]:
    """Finds the files that `--inputs` names.

    Args:
      inputs: a file; a folder, searched with all below it as a data set is;
        a glob, in which `**` stands for any depth; or `-`, one path per line
        on standard input (so a name with a line feed cannot be given there).
      stdin: where that list is read.

    Returns:
      Paths; sorted, but in the given order for a list. Of folders, the
      images by their suffix, hidden ones left out; else whatever is named.

    Raises:
      UsageError: there is none.
      TrainerError: a folder cannot be listed.
    """
    given = os.path.expanduser(inputs)
    if inputs == "-":
        found = _listed(stdin)
        missing = "no path on standard input; give one per line"
    else:
        matches = [given] if files.exists(given) else files.glob(given)
        found = sorted({p for match in matches for p in _below(match, inputs)})
        missing = (
            f"holds no image ({', '.join(SUFFIXES)}); add some, or name files"
            " of other suffixes one by one"
            if matches
            else "no such file; give an image, a folder of images, a glob such"
            " as 'photos/*.jpg' in quotes, or - for a list on standard input"
        )
    if not found:
        raise UsageError(f"--inputs={inputs!r}: {missing}")
    return found


def _listed(stdin: TextIO) -> list[str]:
    """The paths on standard input, without the line ends of either system."""
    if isinstance(stdin, io.TextIOWrapper):
        # A file's name need not be text; see `printable`.
        stdin.reconfigure(
            encoding=sys.getfilesystemencoding(),
            errors="surrogateescape",
            newline="\n",
        )
    return [_without_return(x.rstrip("\n")) for x in stdin if x.strip()]


def _without_return(name: str) -> str:
    """The name without the carriage return that Windows ends lines with.

    A name may end in one on Linux: kept if only that file is there.
    """
    stripped = name.removesuffix("\r")
    if stripped == name or files.is_remote(name):
        return stripped
    only_unstripped = files.exists(name) and not files.exists(stripped)
    return name if only_unstripped else stripped


def _below(path: str, inputs: str) -> Iterator[str]:
    """The path itself, or the images below the folder that it is."""
    if not files.is_dir(path):
        yield path
        return
    try:
        yield from walk_images(path)
    except OSError as error:
        folder = printable(str(error.filename or path))
        raise TrainerError(
            f"--inputs={inputs!r}: {folder}: cannot be listed"
            f" ({reason_of(error)}); give a folder that can be read"
        ) from error


class Predictor:
    """A classifier as it stands, applied to files."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int,
        xla: bool,
        partition: Partition | None = None,
        trunk: Trunk | None = None,
    ) -> None:
        """Args:
        classifier: holds the weights.
        batch_size: files in one pass; the figures do not depend on it.
        xla: whether to compile the pass.
        split: of the classifier; None computes without.
        trunk: its trunk, where it is to be run for each file by itself.
        """
        self._batch_size, self._image_px = batch_size, classifier.image_px
        self._trunk = trunk
        side = classifier.image_px
        shapes = (
            partition.feature_shapes
            if trunk and partition
            else ((side, side, 3),)
        )
        self._shapes: tuple[tuple[int, ...], ...] = shapes
        self._forward = make_prediction_function(classifier, partition, xla=xla)

    def predict(self, paths: Sequence[str]) -> Iterator[Prediction]:
        """One prediction a path, in order; a bad file does not end it."""
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

    def _read(self, path: str) -> _Read:
        try:
            # Before it is opened: a pipe would wait for who writes to it.
            found = files.stat(path)
            unfit = unfit_to_read(found.st_mode, found.st_size)
            if unfit:
                return _Read(None, unfit)
            encoded = files.read(path)
        # A NUL byte is a ValueError; of a URL no file system may be known.
        except (OSError, ValueError, UsageError) as error:
            return _Read(None, f"cannot be read ({reason_of(error)})")
        wrong = what_is_wrong(encoded)
        if wrong is not None:
            return _Read(None, wrong)
        try:
            image = resize(decode_image(tf.constant(encoded)), self._image_px)
        except tf.errors.OpError as error:
            # Of a JPEG the check above decodes a part only.
            return _Read(None, f"cannot be decoded ({first_line(error)})")
        parts = [image.numpy()]
        if self._trunk is not None:
            parts = [part[0] for part in self._trunk(parts[0][None])]
        return _Read(parts, orientation=orientation(encoded))

    def _batch(
        self,
        paths: Sequence[str],
        start: int,
        futures: Sequence[Future[_Read]],
    ) -> Iterator[Prediction]:
        read = [future.result() for future in futures]
        good = [file.parts for file in read if file.parts is not None]
        # One shape for all batches, so that one graph serves them.
        inputs = [
            np.zeros((self._batch_size, *shape), np.float32)
            for shape in self._shapes
        ]
        if good:
            for whole, parts in zip(
                inputs, zip(*good, strict=True), strict=True
            ):
                whole[: len(good)] = parts
            batch = (
                {"images": tf.constant(inputs[0])}
                if self._trunk is None
                else {"features": tuple(tf.constant(x) for x in inputs)}
            )
            probabilities = iter(self._forward(batch).numpy())
        for offset, file in enumerate(read):
            yield Prediction(
                paths[start + offset],
                None if file.parts is None else next(probabilities),
                file.error,
                file.orientation,
            )


def csv_header(top_k: int) -> list[str]:
    """Returns file, class_1, probability_1 ... probability_k, error."""
    pairs = ((f"class_{k}", f"probability_{k}") for k in range(1, top_k + 1))
    return ["file", *(name for pair in pairs for name in pair), "error"]


def csv_row(
    prediction: Prediction, class_names: Sequence[str], top_k: int
) -> list[str]:
    """Returns the row of one file, the most probable class first.

    No cell is a formula to a spreadsheet; see `escaping` for how names change.
    """
    cells: list[str] = []
    if prediction.probabilities is not None:
        ranks = np.argsort(-prediction.probabilities, kind="stable")[:top_k]
        for label in ranks:
            probability = prediction.probabilities[label]
            cells += [
                for_csv(class_names[label]),
                f"{probability:.{_DIGITS}f}",
            ]
    cells += [""] * (2 * top_k - len(cells))
    path = path_for_csv(printable(prediction.path))
    return [path, *cells, for_csv(prediction.error)]


def write_csv(
    predictions: Iterator[Prediction],
    stream: TextIO,
    class_names: Sequence[str],
    top_k: int,
) -> int:
    """Writes a header and one row per file; returns how many were bad.

    A terminal gets the rows with what is not visible escaped.
    """
    to_terminal = stream.isatty()
    stream.write(csv_line(csv_header(top_k)))
    bad = 0
    for prediction in predictions:
        cells = csv_row(prediction, class_names, top_k)
        if to_terminal:
            cells = [for_terminal(cell) for cell in cells]
        stream.write(csv_line(cells))
        bad += prediction.probabilities is None
    return bad
