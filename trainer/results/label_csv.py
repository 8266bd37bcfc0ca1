"""Predictions as CSV cells if an image may have several labels.

TensorFlow is not imported; see `predictions_file`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.data.samples import SEPARATOR, Samples
from trainer.results.escaping import csv_line, for_csv
from trainer.results.multilabel import MultilabelEvaluation


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Returns the name of the column of each class's probability."""
    return [f"probability_{name}" for name in class_names]


def joined(decisions: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns the labels of an image, joined by `|`.

    Args:
      decisions: bool (classes,), whether the image has each label.
      class_names: in the order of the decisions.
    """
    rows = np.flatnonzero(decisions).tolist()
    return SEPARATOR.join(class_names[row] for row in rows)


def label_predictions_text(
    samples: Samples, evaluation: MultilabelEvaluation
) -> str:
    """Returns the content of predictions.csv, one row per sample.

    The columns are `id`, `true`, `predicted`, and the probability of each
    class. A probability has the fewest digits from which NumPy reads the same
    float32.

    Args:
      samples: the n samples of the evaluation.
      evaluation: of these samples.
    """
    names = evaluation.class_names
    header = ["id", "true", "predicted", *probability_columns(names)]
    lines = [csv_line(header)]
    true = samples.label_names(names)
    for row, sample_id in enumerate(samples.ids):
        cells = [
            for_csv(sample_id),
            for_csv(true[row]),
            for_csv(joined(evaluation.decisions[row], names)),
            *map(str, evaluation.probabilities[row]),
        ]
        lines.append(csv_line(cells))
    return "".join(lines)
