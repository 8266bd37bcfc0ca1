"""Draws a confusion matrix: rows true, columns predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more classes than this, labels and counts are too small to read.
LABELLED_CLASSES = 40


def draw_confusion(
    axes: Axes, counts: np.ndarray, labels: Sequence[str]
) -> None:
    """Shades each cell by its share of the row, and writes the counts.

    Args:
      axes: the axes to draw on, created inside `escaping.plot_style`.
      counts: (classes, classes) integers, rows true, columns predicted.
      labels: of the classes, from `fonts.plot_labels`; more than 40 are not
        drawn, and neither are the counts.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) > LABELLED_CLASSES:
        return
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    for i, j in np.ndindex(counts.shape):
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[i, j] > 0.5 else "black",
        )
