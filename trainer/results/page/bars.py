"""Bars of shares by class, as numbers that `macros.html` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.errors import one_line, shortened
from trainer.results.page.charts import COLOURS, WIDTH

_LEFT, _RIGHT, _LABEL_CHARS = 118, 12, 18
_THICK, _GAP = 8, 8


def class_bars(
    title: str,
    classes: Sequence[str],
    series: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Any]:
    """Returns the numbers of the template's macro `bars`.

    Args:
      title: the name that a screen reader reads.
      classes: their names, in order.
      series: a share in [0, 1] of each class, by class, by the name of the
        series; None draws no bar.
    """
    group = _THICK * len(series) + _GAP
    span = WIDTH - _LEFT - _RIGHT
    return {
        "title": title,
        "height": group * len(classes) + 20,
        "left": _LEFT,
        "thick": _THICK,
        "ticks": [
            (_LEFT + span * tick / 4, f"{tick / 4:g}") for tick in range(5)
        ],
        "labels": [
            (
                group * row + (group - _GAP) / 2 + 4,
                shortened(one_line(name), _LABEL_CHARS),
            )
            for row, name in enumerate(classes)
        ],
        "bars": [
            {
                "colour": number % COLOURS,
                "y": group * row + _THICK * number,
                "width": round(span * share, 1),
                "title": f"{name}, {label}: {share:.4f}",
            }
            for row, name in enumerate(classes)
            for number, (label, shares) in enumerate(series.items())
            if (share := shares[name]) is not None
        ],
        "legend": [(n % COLOURS, label) for n, label in enumerate(series)],
    }
