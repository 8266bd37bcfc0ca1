"""Predictions for files: class names and probabilities, as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np
import tensorflow as tf

from trainer.data.headers import UPRIGHT
from trainer.data.rendering import PLAIN, Rendering
from trainer.data.samples import printable
from trainer.learning.head_features import feature_function
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
from trainer.results.file_forward import Features, FileForward, FileOutput
from trainer.results.label_csv import joined, probability_columns
from trainer.results.novelty import Novelty

DIGITS = 6
# The decisions about a prediction.
ACCEPTED, UNSURE, UNLIKE = "accepted", "unsure", "unlike"


class Prediction(NamedTuple):
    """The prediction for one file.

    Attributes:
      path: as given.
      probabilities: float32 (classes,) with sum 1, or each in [0, 1] if an
        image may have several labels; None if the file cannot be read.
      error: the reason why the file cannot be read; empty if it can.
      orientation: from its EXIF data, 1 to 8; 1 is upright.
      unlike: whether the image is unlike the training images.
    """

    path: str
    probabilities: np.ndarray | None
    error: str
    orientation: int = UPRIGHT
    unlike: bool = False


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
        novelty: Novelty | None = None,
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
          novelty: marks images that are unlike the training images; a trunk
            must end before the head.
        """
        self._novelty = novelty
        forward = make_prediction_function(
            classifier, partition, xla=xla, flip=flip
        )
        shapes = partition.feature_shapes if partition else ()
        features: Features | None = trunk
        if flip and trunk is not None:
            forward = _with_mirrored(forward, len(shapes))
            features, shapes = _both(trunk), shapes * 2
        if novelty is not None:
            forward = _with_score(
                forward, novelty, feature_function(classifier, xla)
            )
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
        return map(self._prediction, self._files.run(paths))

    def predict_encoded(self, encoded: bytes) -> Prediction:
        """Returns the prediction for an encoded image, with the path ""."""
        return self._prediction(self._files.of_encoded(encoded))

    def _prediction(self, found: FileOutput) -> Prediction:
        output, unlike = found.output, False
        if self._novelty is not None and output is not None:
            unlike = bool(output[-1] < self._novelty.threshold)
            output = output[:-1]
        return Prediction(
            found.path, output, found.error, found.orientation, unlike
        )


def _with_score(
    forward: Callable[[Batch], tf.Tensor],
    novelty: Novelty,
    compute: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[Batch], tf.Tensor]:
    """Returns a forward pass with the score of novelty as one more column.

    Args:
      forward: computes probabilities.
      novelty: computes the score.
      compute: the pooled features of images, for batches without features.
    """

    def both(batch: Batch) -> tf.Tensor:
        # The features of a mirror image come after those of the image.
        pooled = (batch.get("features") or [compute(batch["images"])])[0]
        scores = tf.constant(novelty.scores(pooled.numpy())[:, None])
        return tf.concat([forward(batch), scores], axis=1)

    return both


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


class Decide(NamedTuple):
    """Decides which predictions are accepted.

    Attributes:
      min_confidence: the smallest probability of the best class.
    """

    min_confidence: float = 0.0

    def __call__(self, prediction: Prediction) -> str:
        """Returns `accepted`, `unsure` or `unlike`; "" without a prediction."""
        if prediction.probabilities is None:
            return ""
        if prediction.unlike:
            return UNLIKE
        # Not `<`, so that NaN is not accepted.
        sure = prediction.probabilities.max() >= self.min_confidence
        return ACCEPTED if sure else UNSURE


def csv_header(top_k: int, *, decides: bool = False) -> list[str]:
    """Returns the columns: file, class_1, probability_1, ..., error.

    Args:
      top_k: number of classes.
      decides: whether there is a column `decision`.
    """
    pairs = ((f"class_{k}", f"probability_{k}") for k in range(1, top_k + 1))
    names = (name for pair in pairs for name in pair)
    return ["file", *names, *_decision_column(decides), "error"]


def csv_row(
    prediction: Prediction,
    class_names: Sequence[str],
    top_k: int,
    decide: Decide | None = None,
) -> list[str]:
    """Returns the CSV row of one file, the most probable class first.

    No spreadsheet reads a cell as a formula; see `escaping`.
    """
    cells: list[str] = []
    if prediction.probabilities is not None:
        for label in ranks(prediction.probabilities)[:top_k]:
            probability = prediction.probabilities[label]
            cells += [
                for_csv(class_names[label]),
                f"{probability:.{DIGITS}f}",
            ]
    cells += [""] * (2 * top_k - len(cells))
    return _whole_row(prediction, cells, decide)


def _decision_column(decides: bool) -> list[str]:
    return ["decision"] if decides else []


def ranks(probabilities: np.ndarray) -> list[int]:
    """Returns the classes, the most probable one first."""
    return np.argsort(-probabilities, kind="stable").tolist()


def _whole_row(
    prediction: Prediction, cells: list[str], decide: Decide | None
) -> list[str]:
    """Returns the cells with the file in front, and decision and error."""
    decision = [] if decide is None else [decide(prediction)]
    path = path_for_csv(printable(prediction.path))
    return [path, *cells, *decision, for_csv(prediction.error)]


def write_csv(
    predictions: Iterable[Prediction],
    stream: TextIO,
    class_names: Sequence[str],
    top_k: int,
    decide: Decide | None = None,
) -> int:
    """Writes a header and one row per file.

    On a terminal, invisible characters are escaped.

    Args:
      predictions: one for each file.
      stream: receives the CSV.
      class_names: in the order of the probabilities.
      top_k: number of classes per row.
      decide: fills the column `decision`; None leaves it out.

    Returns:
      The number of files that could not be read.
    """
    return _write_rows(
        predictions,
        stream,
        csv_header(top_k, decides=decide is not None),
        lambda found: csv_row(found, class_names, top_k, decide),
    )


def write_label_csv(
    predictions: Iterable[Prediction],
    stream: TextIO,
    class_names: Sequence[str],
    thresholds: np.ndarray,
    decide: Decide | None = None,
) -> int:
    """Writes a header and one row per file, if it may have several labels.

    The columns are `file`, `labels` (those whose probability is at least the
    threshold), the probability of each class, and `error`.

    Args:
      predictions: one for each file.
      stream: receives the CSV.
      class_names: in the order of the probabilities.
      thresholds: float32 (classes,).
      decide: see `write_csv`.

    Returns:
      The number of files that could not be read.
    """

    def row(prediction: Prediction) -> list[str]:
        found = prediction.probabilities
        cells = [""] * (1 + len(class_names))
        if found is not None:
            labels = for_csv(joined(found >= thresholds, class_names))
            cells = [labels, *(f"{p:.{DIGITS}f}" for p in found)]
        return _whole_row(prediction, cells, decide)

    columns = probability_columns(class_names)
    decision = _decision_column(decide is not None)
    header = ["file", "labels", *columns, *decision, "error"]
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
