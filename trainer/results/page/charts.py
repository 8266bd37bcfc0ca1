"""Charts with two axes, as numbers that the template `macros.html` draws.

The width of 360 is about that of a phone, so a chart is readable there without
scrolling.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 8, 34
# Number of colours in `base.html`; Okabe and Ito's palette, for readers with
# colour blindness.
COLOURS = 6
TRAIN, VALIDATION = "train", "validation"

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart.

    Attributes:
      label: its text in the legend; "" has no entry.
      points: pairs of x and y in ascending order of x; those that are not
        finite are left out.
      colour: the number of its colour.
      dashed: whether the line is dashed.
      dots: whether its points are marked.
    """

    label: str
    points: Sequence[Point]
    colour: int = 0
    dashed: bool = False
    dots: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of lines.

    Attributes:
      title: the name that a screen reader reads.
      x_label: below the x axis.
      y_label: above the y axis.
      series: the lines.
      x_range: the ends of the x axis; None takes those of the points.
      y_range: the ends of the y axis; None takes those of the points.
      marks: vertical lines: their x, and a text for the legend.
      whole: whether the ticks of the x axis are whole numbers.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_range: Point | None = None
    y_range: Point | None = None
    marks: Mapping[float, str] = dataclasses.field(default_factory=dict)
    whole: bool = False

    def drawn(self) -> dict[str, Any]:
        """Returns the numbers of the template's macro `chart`."""
        lines = [list(_finite(series.points)) for series in self.series]
        points = [point for line in lines for point in line]
        x_ends = self.x_range or _ends([x for x, _ in points])
        y_ends = self.y_range or _ends([y for _, y in points])

        def x_of(x: float) -> float:
            share = (x - x_ends[0]) / (x_ends[1] - x_ends[0])
            return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

        def y_of(y: float) -> float:
            share = (y - y_ends[0]) / (y_ends[1] - y_ends[0])
            return round(
                HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1
            )

        return {
            "chart": self,
            "width": WIDTH,
            "height": HEIGHT,
            "left": _LEFT,
            "right": WIDTH - _RIGHT,
            "top": _TOP,
            "bottom": HEIGHT - _BOTTOM,
            "x_ticks": [
                (x_of(x), f"{x:g}") for x in ticks(*x_ends, whole=self.whole)
            ],
            "y_ticks": [(y_of(y), f"{y:g}") for y in ticks(*y_ends)],
            "lines": [
                (series, [(x_of(x), y_of(y)) for x, y in line])
                for series, line in zip(self.series, lines, strict=True)
            ],
            "marks": [x_of(x) for x in self.marks],
            "legend": [series for series in self.series if series.label],
            "mark_labels": list(dict.fromkeys(self.marks.values())),
        }


def _finite(points: Sequence[Point]) -> Iterator[Point]:
    return (point for point in points if all(map(math.isfinite, point)))


def _ends(values: Sequence[float]) -> Point:
    """Returns the ends of an axis, which are not equal."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        return low - 0.5, high + 0.5
    return low, high


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Returns up to six round numbers between two ends.

    Args:
      low: the lower end.
      high: the upper end, above `low`.
      whole: whether to return whole numbers only.
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9)
    )
    if whole:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoch:
    """The metrics of one split at the end of an epoch.

    Attributes:
      x: the epoch, counted over all stages.
      stage: the name of its stage.
      split: train or validation.
      loss: the mean loss.
      accuracy: in [0, 1].
    """

    x: float
    stage: str
    split: str
    loss: float
    accuracy: float


def epochs_of(lines: Sequence[Mapping[str, Any]]) -> list[Epoch]:
    """Returns the epochs of a run, stage after stage.

    Args:
      lines: those of metrics.jsonl; only those that end an epoch count.
    """
    found: list[Epoch] = []
    before, stage, last = 0.0, None, 0.0
    for line in lines:
        if line["span"] != "epoch":
            continue
        if line["stage"] != stage:
            before, stage = last, line["stage"]
        last = before + line["epoch"]
        found.append(
            Epoch(
                x=last,
                stage=line["stage"],
                split=line["split"],
                loss=line["loss"],
                accuracy=line["accuracy"],
            )
        )
    return found


def stage_ends(epochs: Sequence[Epoch]) -> dict[float, str]:
    """Returns the last epoch of each stage but the last, with a text."""
    last = {epoch.stage: epoch.x for epoch in epochs}
    names = list(last)
    return {
        last[name]: f"{later} begins"
        for name, later in itertools.pairwise(names)
    }


def learning_curves(
    curves: Mapping[str, Sequence[Epoch]], marks: Mapping[float, str]
) -> list[Chart]:
    """Returns the charts of accuracy and loss by epoch.

    Args:
      curves: the epochs of each run, by the run's name; "" for the only one.
      marks: see `Chart`.
    """
    return [
        Chart(
            title=f"{key.capitalize()} by epoch",
            x_label="epoch",
            y_label=key,
            series=[
                Series(
                    label=f"{name} {split}".strip(),
                    points=[
                        (epoch.x, getattr(epoch, key))
                        for epoch in epochs
                        if epoch.split == split
                    ],
                    colour=number % COLOURS,
                    dashed=split == TRAIN,
                    dots=split == VALIDATION,
                )
                for number, (name, epochs) in enumerate(curves.items())
                for split in (VALIDATION, TRAIN)
            ],
            marks=marks,
            whole=True,
        )
        for key in ("accuracy", "loss")
    ]
