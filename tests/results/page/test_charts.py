"""The numbers of charts, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.model.freeze import LayerRow
from trainer.results.page.bars import class_bars
from trainer.results.page.charts import (
    Chart,
    Series,
    epochs_of,
    learning_curves,
    stage_ends,
    ticks,
)
from trainer.results.page.images import overlaid
from trainer.results.page.matrix import matrix, most_confused
from trainer.results.page.plans import segments
from trainer.results.page.render import number, percent, seconds


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.81, 0.97, False, [0.85, 0.9, 0.95]),
        (1, 3, True, [1, 2, 3]),
        (1, 3, False, [1, 1.5, 2, 2.5, 3]),
        (-3, 40, False, [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round_numbers(low, high, whole, expected) -> None:
    assert ticks(low, high, whole=whole) == expected


def test_points_are_in_their_places() -> None:
    """The axes are 308 by 178, from (42, 186) upwards."""
    chart = Chart(
        title="t",
        x_label="x",
        y_label="y",
        series=[Series(label="s", points=[(0, 0), (1, math.nan), (2, 4)])],
        marks={1.0: "half"},
    )
    drawn = chart.drawn()
    assert [points for _, points in drawn["lines"]] == [
        [(42.0, 186.0), (350.0, 8.0)]
    ]
    assert drawn["marks"] == [196.0]
    assert drawn["mark_labels"] == ["half"]
    # One value needs an axis too.
    Chart(
        title="", x_label="", y_label="", series=[Series(label="", points=[])]
    ).drawn()


def lines_of(stage: str, epochs: tuple[int, ...]) -> list[dict]:
    return [
        {
            "stage": stage,
            "span": span,
            "split": "validation",
            "epoch": epoch,
            "loss": 1.0,
            "accuracy": epoch / 10,
        }
        for epoch in epochs
        for span in ("steps", "epoch")
    ]


def test_epochs_go_on_over_stages() -> None:
    """The second stage is validated after every second epoch."""
    lines = [*lines_of("one", (1, 2, 3)), *lines_of("two", (2, 4))]
    epochs = epochs_of(lines)
    assert [epoch.x for epoch in epochs] == [1, 2, 3, 5, 7]
    assert stage_ends(epochs) == {3: "two begins"}
    accuracy, _ = learning_curves({"": epochs}, {})
    validation, train = accuracy.series
    assert validation.points == [
        *((1, 0.1), (2, 0.2), (3, 0.3), (5, 0.2), (7, 0.4))
    ]
    assert train.points == []


def test_confusion_rows_are_true_classes() -> None:
    """Seven images of class a are predicted as class c."""
    counts = np.array([[1, 0, 7], [0, 2, 0], [0, 0, 3]])
    drawn = matrix(counts, ("a", "b", "c"))
    cell = drawn["cell"]
    found = {
        (c["x"] / cell, c["y"] / cell): (c["count"], c["share"])
        for c in drawn["cells"]
    }
    # Places are (column, row).
    assert found == {
        (0, 0): (1, 0.12),
        (2, 0): (7, 0.88),
        (1, 1): (2, 1),
        (2, 2): (3, 1),
    }
    (pair,) = most_confused(counts, ("a", "b", "c"))
    assert (pair.true, pair.predicted) == ("a", "c")
    assert (pair.count, pair.share) == (7, 7 / 8)


def test_many_classes_are_paths_by_shade() -> None:
    counts = np.diag(np.full(68, 4))
    counts[0, 1] = 12
    drawn = matrix(counts, [str(n) for n in range(68)])
    assert drawn["cells"] == ()
    # A side of 340 has cells of 5.
    shades = dict(drawn["shades"])
    assert shades[0.2] == "M0.0 0.0h5.00v5.00h-5.00z"
    assert shades[0.8] == "M5.0 0.0h5.00v5.00h-5.00z"
    assert shades[1.0].count("M") == 67


def test_neighbouring_layers_are_one_segment() -> None:
    rows = [
        LayerRow(name=f"l{n}", kind="Dense", params=n, trainable_params=trained)
        for n, trained in ((1, 0), (2, 0), (3, 1), (4, 0))
    ]
    found = segments(rows, [row.params for row in rows])
    assert [(s["x"], s["width"], s["trained"]) for s in found] == [
        *((0, 108, False), (108, 108, True), (216, 144, False))
    ]
    assert found[0]["title"] == "l1 to l2: frozen"


def test_bars_of_classes() -> None:
    """The chart is 230 units wide; class b lacks a second value."""
    drawn = class_bars(
        "t", ["a", "b"], {"x": {"a": 0.5, "b": 1.0}, "y": {"a": 0.1, "b": None}}
    )
    assert [(bar["y"], bar["width"]) for bar in drawn["bars"]] == [
        *((0, 115.0), (8, 23.0), (24, 230.0))
    ]


def test_a_map_is_red_where_it_is_highest() -> None:
    image = np.full((8, 8, 3), 100.0)
    found = overlaid(image, np.array([[0.0, 0.0], [0.0, 5.0]]))
    assert np.argmax(found[-1, -1]) == 0
    assert np.argmax(found[0, 0]) == 2
    assert overlaid(image, np.zeros((2, 2))).shape == (8, 8, 3)


def test_values_are_shown_with_their_units() -> None:
    assert [number(x) for x in (None, 1234, 0.5)] == ["-", "1,234", "0.5000"]
    assert [percent(x) for x in (None, 0.876)] == ["-", "87.6 %"]
    assert [seconds(x) for x in (None, 1.25, 185, 7800.2)] == [
        *("-", "1.2 s", "3 min 5 s", "2 h 10 min")
    ]
