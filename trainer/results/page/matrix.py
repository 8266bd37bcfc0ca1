"""A confusion matrix as numbers that the template `macros.html` draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.errors import one_line, shortened
from trainer.results.confusion import LABELLED_CLASSES

_LABEL_CHARS, _CELL_PX, _LABEL_PX = 18, 24, 150
_SIDE_PX, _SHADES = 340, 10
_PAIRS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confused:
    """A pair of classes, of which one is predicted for the other.

    Attributes:
      true: the name of the true class.
      predicted: the name of the predicted class.
      count: number of examples.
      share: the share of the true class's examples, in [0, 1].
    """

    true: str
    predicted: str
    count: int
    share: float


def most_confused(counts: np.ndarray, names: Sequence[str]) -> list[Confused]:
    """Returns up to ten pairs of classes with the most wrong predictions.

    Args:
      counts: int (classes, classes), rows true, columns predicted.
      names: of the classes.
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    return [
        Confused(
            true=names[row],
            predicted=names[column],
            count=int(wrong[row, column]),
            share=float(wrong[row, column] / counts[row].sum()),
        )
        for row, column in zip(
            *np.unravel_index(order, wrong.shape), strict=True
        )
        if wrong[row, column]
    ]


def matrix(counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Returns the numbers of the template's macro `matrix`.

    A cell is shaded by its share of the row. Up to `LABELLED_CLASSES` classes
    have names and counts, and the columns the numbers of the rows.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(names)
    cells = np.argwhere(counts > 0).tolist()
    if size > LABELLED_CLASSES:
        cell = _SIDE_PX / size
        return {
            "side": _SIDE_PX,
            "shades": _shades(share, cells, cell),
            "cells": (),
        }
    return {
        "side": _CELL_PX * size,
        "cell": _CELL_PX,
        "label_px": _LABEL_PX,
        "labels": [shortened(one_line(name), _LABEL_CHARS) for name in names],
        "shades": (),
        "cells": [
            {
                "x": column * _CELL_PX,
                "y": row * _CELL_PX,
                "share": round(float(share[row, column]), 2),
                "count": int(counts[row, column]),
                "title": f"{names[row]} as {names[column]}",
            }
            for row, column in cells
        ],
    }


def _shades(
    share: np.ndarray, cells: Sequence[Sequence[int]], cell: float
) -> list[tuple[float, str]]:
    """Returns opacity and SVG path of the cells of each shade."""
    side = f"{cell:.2f}"
    paths: dict[int, list[str]] = {}
    for row, column in cells:
        shade = max(1, round(float(share[row, column]) * _SHADES))
        paths.setdefault(shade, []).append(
            f"M{column * cell:.1f} {row * cell:.1f}h{side}v{side}h-{side}z"
        )
    return [(n / _SHADES, "".join(paths[n])) for n in sorted(paths)]
