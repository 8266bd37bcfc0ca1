"""predictions.csv: what a run predicts for each of its test samples.

TensorFlow is not imported, so runs are compared without it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.samples import Samples
from trainer.errors import TrainerError, reason_of, shortened
from trainer.results.escaping import csv_line, for_csv
from trainer.results.evaluation import Evaluation
from trainer.results.label_csv import label_predictions_text
from trainer.results.multilabel import MultilabelEvaluation
from trainer.workdir import PREDICTIONS, Workdir

COLUMNS = ("id", "true", "predicted", "probability", "true_probability")
# Longer names are shortened in messages.
_NAME_CHARS = 60


def predictions_text(
    ids: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
) -> str:
    """Returns the content of predictions.csv, one row per sample.

    No spreadsheet reads a cell as a formula; see `escaping`. A probability has
    the fewest digits from which NumPy reads the same float32.

    Args:
      ids: ids of the n samples.
      labels: int (n,), their true classes.
      logits: float32 (n, classes).
      class_names: in the order of the logits.
    """
    names = [for_csv(name) for name in class_names]
    lines = [csv_line(list(COLUMNS))]
    for sample_id, label, row in zip(ids, labels, logits, strict=True):
        probabilities = softmax(row)
        predicted = int(np.argmax(row))
        cells = [
            for_csv(sample_id),
            names[label],
            names[predicted],
            str(probabilities[predicted]),
            str(probabilities[label]),
        ]
        lines.append(csv_line(cells))
    return "".join(lines)


def write_predictions(
    workdir: Workdir,
    samples: Samples,
    evaluation: Evaluation | MultilabelEvaluation,
) -> None:
    """Writes predictions.csv, if the evaluation has outputs.

    With several labels per image, the file has other columns; see
    `label_csv.label_predictions_text`.

    Args:
      workdir: of the run; only the chief writes.
      samples: those of the evaluation.
      evaluation: of the finished run on its own test samples.

    Raises:
      OSError: the file cannot be written.
    """
    if evaluation.outputs is None or not workdir.writes:
        return
    if isinstance(evaluation, Evaluation):
        text = predictions_text(
            samples.ids,
            samples.labels,
            evaluation.outputs,
            evaluation.class_names,
        )
    else:
        text = label_predictions_text(samples, evaluation)
    workdir.write_text(PREDICTIONS, text)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns float32 probabilities of float32 logits (..., classes).

    Computed in float64. They are NaN if a logit is not finite, as those of a
    model that diverged may be.
    """
    with np.errstate(invalid="ignore"):
        highest = logits.max(axis=-1, keepdims=True)
        powers = np.exp(logits.astype(np.float64) - highest)
        shares = powers / powers.sum(axis=-1, keepdims=True)
        return shares.astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SamplePredictions:
    """The rows of predictions.csv.

    Attributes:
      ids: of the n samples, each once.
      labels: int64 (n,), the true classes.
      predicted: int64 (n,), the predicted classes.
      confidence: float64 (n,), the probabilities of the predicted classes.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is correct, bool (n,)."""
        return self.labels == self.predicted


def parse_predictions(
    path: str, data: bytes, class_names: Sequence[str], *, remedy: str
) -> SamplePredictions:
    """Reads what `predictions_text` wrote.

    Args:
      path: of the file, for messages.
      data: its content, which may be damaged.
      class_names: of the run.
      remedy: the end of messages: how to write the file again.

    Raises:
      TrainerError: the content is damaged; the message names the line.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TrainerError(
            f"{path}: line {line}: not UTF-8; {remedy}"
        ) from None
    labels = {for_csv(name): label for label, name in enumerate(class_names)}
    rows: dict[str, tuple[int, int, float]] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"is not {','.join(COLUMNS)}")
        for cells in reader:
            sample_id, true, predicted, confidence = _checked(cells, labels)
            if sample_id in rows:
                raise ValueError(f"{_shown(sample_id)} a second time")
            rows[sample_id] = true, predicted, confidence
        if not rows:
            raise ValueError("no sample after it")
    except (ValueError, csv.Error) as error:
        line = max(reader.line_num, 1)
        raise TrainerError(
            f"{path}: line {line}: {reason_of(error)}; {remedy}"
        ) from None
    columns = list(zip(*rows.values(), strict=True))
    return SamplePredictions(
        ids=tuple(rows),
        labels=np.array(columns[0], np.int64),
        predicted=np.array(columns[1], np.int64),
        confidence=np.array(columns[2], np.float64),
    )


def _checked(
    cells: Sequence[str], labels: Mapping[str, int]
) -> tuple[str, int, int, float]:
    """Returns id, true class, predicted class and its probability of a row.

    Args:
      cells: of the row.
      labels: the classes by the names that the file has for them.

    Raises:
      ValueError: the row is malformed.
    """
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, not {len(COLUMNS)}")
    sample_id, true, predicted, *probabilities = cells
    for name in (true, predicted):
        if name not in labels:
            raise ValueError(f"{_shown(name)} is not a class of the run")
    for text in probabilities:
        value = float(text)
        if value < 0 or value > 1:
            raise ValueError(f"{_shown(text)} is not a probability")
    return (
        sample_id.removeprefix("'"),
        labels[true],
        labels[predicted],
        float(probabilities[0]),
    )


def _shown(text: str) -> str:
    return repr(shortened(text, _NAME_CHARS))
