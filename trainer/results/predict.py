"""Predictions for files: class names and probabilities, as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np
import tensorflow as tf

from trainer.data.headers import UPRIGHT
from trainer.data.rendering import PLAIN, Rendering
from trainer.data.samples import printable
from trainer.learning.steps import Batch, make_prediction_function
from trainer.model.classifier import Classifier
from trainer.model.trunk.engines import MirroredTrunk, Trunk
from trainer.model.trunk.partition import Partition
from trainer.results.escaping import (
    csv_line,
    for_csv,
    for_terminal,
    path_for_csv,
)
from trainer.results.file_forward import Features, FileForward
from trainer.results.label_csv import joined, probability_columns

_DIGITS = 6


class Prediction(NamedTuple):
    """The prediction for one file.

    Attributes:
      path: as given.
      probabilities: float32 (classes,) with sum 1, or each in [0, 1] if an
        image may have several labels; None if the file cannot be read.
      error: the reason why the file cannot be read; empty if it can.
      orientation: from its EXIF data, 1 to 8; 1 is upright.
    """

    path: str
    probabilities: np.ndarray | None
    error: str
    orientation: int = UPRIGHT


class Predictor:
    """Predicts the classes of files with a classifier's current weights."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int,
        xla: bool,
        partition: Partition | None = None,
        trunk: Trunk | None = None,
        flip: bool = False,
        rendering: Rendering = PLAIN,
    ) -> None:
        """Creates a predictor.

        Args:
          classifier: holds the weights.
          batch_size: files per forward pass; predictions do not depend on it.
          xla: whether to compile the forward pass.
          partition: of the classifier; None runs it whole.
          trunk: the trunk of the partition, to run on one file at a time; None
            runs it in the forward pass.
          flip: whether to average the probabilities of each image with those
            of its mirror image.
          rendering: how images are decoded and resized.
        """
        forward = make_prediction_function(
            classifier, partition, xla=xla, flip=flip
        )
        shapes = partition.feature_shapes if partition else ()
        features: Features | None = trunk
        if flip and trunk is not None:
            forward = _with_mirrored(forward, len(shapes))
            features, shapes = _both(trunk), shapes * 2
        self._files = FileForward(
            forward,
            image_px=classifier.image_px,
            rendering=rendering,
            batch_size=batch_size,
            trunk=features,
            shapes=shapes,
        )

    def predict(self, paths: Sequence[str]) -> Iterator[Prediction]:
        """Yields one prediction per path, in order, bad files included."""
        return (Prediction(*found) for found in self._files.run(paths))


def _both(trunk: Trunk) -> Features:
    """Returns a function that computes features of images and mirror images."""
    mirrored = MirroredTrunk(trunk)
    return lambda images: [*trunk(images), *mirrored(images)]


def _with_mirrored(
    forward: Callable[[Batch], tf.Tensor], count: int
) -> Callable[[Batch], tf.Tensor]:
    """Returns a forward pass that takes the features computed by `_both`.

    Args:
      forward: takes the features of the mirror images as `mirrored`.
      count: number of feature tensors per image.
    """

    def both(batch: Batch) -> tf.Tensor:
        features = batch["features"]
        return forward(
            {"features": features[:count], "mirrored": features[count:]}
        )

    return both


def csv_header(top_k: int) -> list[str]:
    """Returns the columns: file, class_1, probability_1, ..., error."""
    pairs = ((f"class_{k}", f"probability_{k}") for k in range(1, top_k + 1))
    return ["file", *(name for pair in pairs for name in pair), "error"]


def csv_row(
    prediction: Prediction, class_names: Sequence[str], top_k: int
) -> list[str]:
    """Returns the CSV row of one file, the most probable class first.

    No spreadsheet reads a cell as a formula; see `escaping`.
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
    predictions: Iterable[Prediction],
    stream: TextIO,
    class_names: Sequence[str],
    top_k: int,
) -> int:
    """Writes a header and one row per file.

    On a terminal, invisible characters are escaped.

    Returns:
      The number of files that could not be read.
    """
    return _write_rows(
        predictions,
        stream,
        csv_header(top_k),
        lambda prediction: csv_row(prediction, class_names, top_k),
    )


def write_label_csv(
    predictions: Iterable[Prediction],
    stream: TextIO,
    class_names: Sequence[str],
    thresholds: np.ndarray,
) -> int:
    """Writes a header and one row per file, if it may have several labels.

    The columns are `file`, `labels` (those whose probability is at least the
    threshold), the probability of each class, and `error`.

    Args:
      predictions: one for each file.
      stream: receives the CSV.
      class_names: in the order of the probabilities.
      thresholds: float32 (classes,).

    Returns:
      The number of files that could not be read.
    """

    def row(prediction: Prediction) -> list[str]:
        found = prediction.probabilities
        cells = [""] * (1 + len(class_names))
        if found is not None:
            labels = for_csv(joined(found >= thresholds, class_names))
            cells = [labels, *(f"{p:.{_DIGITS}f}" for p in found)]
        path = path_for_csv(printable(prediction.path))
        return [path, *cells, for_csv(prediction.error)]

    columns = probability_columns(class_names)
    header = ["file", "labels", *columns, "error"]
    return _write_rows(predictions, stream, header, row)


def _write_rows(
    predictions: Iterable[Prediction],
    stream: TextIO,
    header: list[str],
    row: Callable[[Prediction], list[str]],
) -> int:
    """Writes the rows; returns the number of files that could not be read."""
    to_terminal = stream.isatty()
    stream.write(csv_line(header))
    bad = 0
    for prediction in predictions:
        cells = row(prediction)
        if to_terminal:
            cells = [for_terminal(cell) for cell in cells]
        stream.write(csv_line(cells))
        bad += prediction.probabilities is None
    return bad
