"""The chart of a probe: accuracy against speed."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from trainer.probe.row import Row
from trainer.probe.table import equals_of_best
from trainer.results.escaping import for_plot, plot_style

_BLUE, _GREY = "#0072b2", "#666666"


def draw(rows: Sequence[Row]) -> bytes | None:
    """Draws each backbone's accuracy with its interval over images/s.

    Backbones within the interval of the best are blue.

    Args:
      rows: of the probe.

    Returns:
      A PNG file; None if no backbone has both numbers.
    """
    shown = [row for row in rows if row.head_interval and row.images_per_second]
    if not shown:
        return None
    equal = equals_of_best(rows)
    with plot_style(font__size=10):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for row in shown:
            assert row.head_interval is not None
            low, high = row.head_interval
            axes.errorbar(
                [row.images_per_second or 0.0],
                [row.accuracy],
                yerr=[[row.accuracy - low], [high - row.accuracy]],
                fmt="o",
                capsize=4,
                color=_BLUE if row in equal else _GREY,
            )
            axes.annotate(
                for_plot(row.label),
                (row.images_per_second or 0.0, row.accuracy),
                xytext=(6, 6),
                textcoords="offset points",
            )
        fastest = max(row.images_per_second or 0.0 for row in shown)
        # From 0, so that small differences look small; with room for names.
        axes.set_xlim(0, fastest * 1.4)
        axes.set_xlabel("images/s (reading, decoding and backbone)")
        axes.set_ylabel("cross-validated accuracy of the exact head")
        axes.grid(alpha=0.25)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
