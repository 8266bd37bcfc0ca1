"""Draws head_path.json: how the L2 strength of a solved head was chosen."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.results.escaping import plot_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# (key of a point, key of its standard error, label).
_LOSS = ("loss", "standard_error", "loss")
_ACCURACY = ("accuracy", "accuracy_standard_error", "accuracy")
# Of images with several labels.
_EXACT_MATCH = ("exact_match", "exact_match_standard_error", "exact match")


def head_chart(record: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """Draws cross-validated accuracy and loss by L2 strength.

    Bars are one standard error over the folds; a line marks the chosen
    strength. Points without a standard error of the accuracy, as earlier
    versions wrote them, have no such bars.

    Args:
      record: the content of head_path.json.

    Returns:
      The chart as SVG, and as uint8 (height, width, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The salt and the missing date make the SVG the same in every run.
    with plot_style(font__size=9, svg__fonttype="path", svg__hashsalt="head"):
        figure = Figure(figsize=(4.5, 5), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        _draw(figure, record)
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        # The layout is computed once, because it takes half of the time.
        figure.set_layout_engine("none")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue(), image


def _draw(figure: Figure, record: Mapping[str, Any]) -> None:
    points = record["path"]
    several = "exact_match" in points[0]
    shown = (_EXACT_MATCH if several else _ACCURACY, _LOSS)
    panels = figure.subplots(len(shown), 1, sharex=True)
    for axes, (key, error, label) in zip(panels, shown, strict=True):
        _panel(axes, points, key, error)
        axes.axvline(record["l2"], color="#d55e00", linestyle=":")
        axes.set_ylabel(f"cross-validated {label}")
        axes.grid(alpha=0.25)
    panels[-1].set_xscale("log")
    # Minor ticks of a log scale take a third of the time, and have no labels.
    panels[-1].minorticks_off()
    # The default formatter writes TeX, which is turned off.
    panels[-1].xaxis.set_major_formatter("{x:g}")
    panels[-1].set_xlabel("L2 strength")
    panels[0].set_title(f"{record['folds']} folds, chosen L2 {record['l2']:g}")


def _panel(
    axes: Axes, points: list[Mapping[str, Any]], key: str, error: str
) -> None:
    axes.errorbar(
        [point["l2"] for point in points],
        [point[key] for point in points],
        yerr=[point.get(error, 0.0) for point in points],
        color="#0072b2",
        marker="o",
        markersize=3,
        capsize=2,
    )
