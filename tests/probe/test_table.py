"""The order, the recommendation and the command line of a probe."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from trainer.config import Config
from trainer.probe.chart import draw
from trainer.probe.row import Row, row_from_json
from trainer.probe.table import (
    command_line,
    equals_of_best,
    ranked,
    recommended,
    table_lines,
)


def row(
    label: str,
    accuracy: float,
    low: float = 0.0,
    speed: float | None = 10.0,
    parameters: int = 1000,
) -> Row:
    return Row(
        key=label,
        label=label,
        backbone=label,
        backbone_args="",
        weights=None,
        weights_origin=None,
        image_px=224,
        parameters=parameters,
        megabytes=0.004,
        head_accuracy=accuracy,
        head_interval=(low, 1.0),
        head_l2=0.1,
        neighbours_accuracy=0.5,
        class_mean_accuracy=0.25,
        engine="graph",
        images_per_second=speed,
        seconds=1.0,
    )


FAILED = dataclasses.replace(
    row("Bad", 0.0), head_accuracy=None, head_interval=None, error="it broke\n"
)
BEST = row("Best", 0.9, 0.85, speed=5.0, parameters=9000)


@pytest.mark.parametrize(
    ("others", "equal", "chosen"),
    [
        ((), ["Best"], "Best"),
        ((FAILED,), ["Best"], "Best"),
        # Faster, but worse than the interval allows.
        ((row("Low", 0.849, speed=99.0),), ["Best"], "Best"),
        ((row("Edge", 0.85, speed=6.0),), ["Best", "Edge"], "Edge"),
        ((row("Slow", 0.89, speed=4.0),), ["Best", "Slow"], "Best"),
        (
            (row("Fast", 0.86, speed=7.0), row("Mid", 0.88, speed=6.0)),
            ["Best", "Mid", "Fast"],
            "Fast",
        ),
        # Without a speed the number of parameters decides.
        (
            (row("Big", 0.86, speed=7.0), row("Tiny", 0.87, 0, None, 10)),
            ["Best", "Tiny", "Big"],
            "Tiny",
        ),
        # Equally fast: the smaller.
        ((row("Light", 0.88, 0, 5.0, 10),), ["Best", "Light"], "Light"),
    ],
)
def test_recommended_is_the_fastest_that_equals_the_best(
    others: tuple[Row, ...], equal: list[str], chosen: str
) -> None:
    rows = (*others, BEST)
    assert [row.label for row in equals_of_best(rows)] == equal
    found = recommended(rows)
    assert found is not None
    assert found.label == chosen


def test_nothing_is_recommended_if_all_failed() -> None:
    assert recommended([FAILED]) is None


def test_rows_are_sorted_by_accuracy_then_size() -> None:
    rows = [FAILED, row("A", 0.5), row("B", 0.5, parameters=10), BEST]
    assert [r.label for r in ranked(rows)] == ["Best", "B", "A", "Bad"]


def test_table_of_hand_worked_rows() -> None:
    lines = list(table_lines([FAILED, row("Low", 0.5, 0.4, None), BEST]))
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "* Best 0.900 [0.850, 1.000] 0.500 0.250 5.0 9,000 0.0 224",
        "Low 0.500 [0.400, 1.000] 0.500 0.250 cached 1,000 0.0 224",
        "Bad: failed: it broke\\n",
    ]


def test_command_names_the_data_and_the_backbone() -> None:
    config = Config(
        stage="probe",
        dataset="my photos/'x",
        seed=3,
        image_size=96,
        data_pct=10.0,
        backbones="A",
    )
    chosen = dataclasses.replace(
        BEST, backbone_args="alpha=0.35", weights="w e.h5"
    )
    assert shlex.split(command_line(config, chosen)) == [
        "python",
        "main.py",
        "--stage=finetune",
        "--dataset=my photos/'x",
        "--seed=3",
        "--backbone=Best",
        "--backbone_args=alpha=0.35",
        "--weights=w e.h5",
        "--image_size=96",
    ]


def test_chart_shows_rows_that_have_both_numbers() -> None:
    image = draw([BEST, FAILED, row("$a$", 0.5, 0.4)])
    assert image is not None
    assert image.startswith(b"\x89PNG")
    assert draw([FAILED, row("Cached", 0.5, 0.4, None)]) is None


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({}, True),
        ({"images_per_second": None}, True),
        ({"error": "it broke"}, False),
        ({"head_accuracy": None}, False),
        ({"head_accuracy": "0.5"}, False),
        ({"head_interval": [0.5]}, False),
        ({"key": 7}, False),
    ],
)
def test_only_a_complete_row_is_taken_from_a_file(
    changes: dict[str, object], complete: bool
) -> None:
    values = {**BEST.to_json(), "head_interval": [0.85, 1.0], **changes}
    found = row_from_json(values)
    assert (found is not None) == complete
    if not changes:
        assert found == BEST
