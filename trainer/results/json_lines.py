"""Predictions for files as JSON lines, one object per file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import numpy as np

from trainer.data.samples import printable
from trainer.results.predict import DIGITS, Decide, Prediction, ranks


def json_object(
    prediction: Prediction,
    class_names: Sequence[str],
    *,
    top_k: int,
    thresholds: np.ndarray | None = None,
    decide: Decide | None = None,
) -> dict[str, Any]:
    """Returns the object of one file, the most probable class first.

    Args:
      prediction: for the file.
      class_names: in the order of the probabilities.
      top_k: number of classes.
      thresholds: float32 (classes,), if the file may have several labels; the
        object then has `labels`.
      decide: fills `decision`; None leaves it out.
    """
    found = prediction.probabilities
    values: dict[str, Any] = {"file": printable(prediction.path)}
    values["predictions"] = (
        []
        if found is None
        else [
            {"class": class_names[label], "probability": _rounded(found[label])}
            for label in ranks(found)[:top_k]
        ]
    )
    if thresholds is not None:
        values["labels"] = (
            None
            if found is None
            else [
                class_names[row]
                for row in np.flatnonzero(found >= thresholds).tolist()
            ]
        )
    if decide is not None:
        values["decision"] = decide(prediction) or None
    values["error"] = prediction.error or None
    return values


def _rounded(probability: np.floating[Any]) -> float | None:
    """Returns the digits of the CSV; None for NaN, which JSON lacks."""
    value = float(probability)
    return round(value, DIGITS) if math.isfinite(value) else None


def write_json_lines(
    predictions: Iterable[Prediction],
    stream: TextIO,
    to_object: Callable[[Prediction], dict[str, Any]],
) -> int:
    """Writes one object per line and file.

    Args:
      predictions: one for each file.
      stream: receives the lines.
      to_object: see `json_object`.

    Returns:
      The number of files that could not be read.
    """
    bad = 0
    for prediction in predictions:
        values = to_object(prediction)
        stream.write(json.dumps(values, ensure_ascii=False) + "\n")
        bad += prediction.probabilities is None
    return bad
