"""The chart of a search: the validation accuracy of each trial."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from trainer.results.escaping import for_plot, plot_style
from trainer.search.row import Row

_BLUE, _GREY = "#0072b2", "#666666"
_MAX_ROWS = 40


def draw(rows: Sequence[Row], default: Row) -> bytes:
    """Draws the accuracy of each finished run with its interval.

    Runs over all epochs are blue, shorter runs grey. A band shows the interval
    of the unchanged recipe.

    Args:
      rows: finished runs, at least one; the chart shows up to 40, sorted by
        number of epochs and then by accuracy.
      default: the run of the unchanged recipe.

    Returns:
      A PNG file.
    """
    order = sorted(rows, key=lambda row: (-row.part, row.rank))[:_MAX_ROWS]
    with plot_style(font__size=9):
        figure = Figure(
            figsize=(8.0, 1.4 + 0.26 * len(order)), layout="constrained"
        )
        axes = figure.subplots()
        axes.axvspan(*default.interval, color=_BLUE, alpha=0.12, linewidth=0)
        for place, row in enumerate(order):
            low, high = row.interval
            axes.errorbar(
                [row.accuracy],
                [place],
                xerr=[[row.accuracy - low], [high - row.accuracy]],
                fmt="o",
                capsize=3,
                color=_BLUE if row.part == 1 else _GREY,
            )
        axes.set_yticks(range(len(order)), [_label(row) for row in order])
        axes.invert_yaxis()
        axes.set_xlabel(
            "validation accuracy, 95 % interval (band: the unchanged recipe;"
            " grey: fewer epochs)"
        )
        axes.grid(axis="x", alpha=0.25)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _label(row: Row) -> str:
    """Returns name, length and flag values, without the flag names."""
    part = "" if row.part == 1 else f", {row.length}"
    values = " ".join(map(str, row.values.values()))
    return for_plot(f"{row.name}{part}: {values or 'the unchanged recipe'}")
