"""Predictions as JSON lines, beside the same ones as CSV."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from trainer.results.json_lines import json_object, write_json_lines
from trainer.results.predict import Decide, Prediction, csv_header, csv_row

NAMES = ("apple", "=bun", "寿司")
FOUND = np.array([0.25, 0.125, 0.625], np.float32)


def test_an_object_has_names_and_paths_unchanged() -> None:
    """There are no formulas in JSON, so nothing is put in front."""
    values = json_object(Prediction("=a\n.jpg", FOUND, ""), NAMES, top_k=3)
    assert values == {
        "file": "=a\n.jpg",
        "predictions": [
            {"class": "寿司", "probability": 0.625},
            {"class": "apple", "probability": 0.25},
            {"class": "=bun", "probability": 0.125},
        ],
        "error": None,
    }


def test_several_labels_are_those_above_their_thresholds() -> None:
    values = json_object(
        Prediction("a", FOUND, ""),
        NAMES,
        top_k=1,
        thresholds=np.array([0.25, 0.2, 0.5], np.float32),
        decide=Decide(0.7),
    )
    assert values["labels"] == ["apple", "寿司"]
    assert [row["class"] for row in values["predictions"]] == ["寿司"]
    assert values["decision"] == "unsure"


def test_each_file_is_a_line_and_bad_ones_are_counted() -> None:
    stream = io.StringIO()
    rows = [
        Prediction("x\u2028\r.jpg", FOUND, ""),
        Prediction("bad", None, "an empty file"),
        Prediction("nan", np.full(3, np.nan, np.float32), ""),
    ]
    bad = write_json_lines(
        rows,
        stream,
        lambda row: json_object(row, NAMES, top_k=1, decide=Decide(0.0)),
    )
    assert bad == 1
    first, second, third = map(json.loads, stream.getvalue().split("\n")[:-1])
    assert first["file"] == "x\u2028\r.jpg"
    assert second == {
        "file": "bad",
        "predictions": [],
        "decision": None,
        "error": "an empty file",
    }
    assert third["predictions"][0]["probability"] is None
    assert third["decision"] == "unsure"


@pytest.mark.parametrize(
    ("prediction", "threshold", "expected"),
    [
        pytest.param(Prediction("a", FOUND, ""), 0.625, "accepted", id="equal"),
        pytest.param(Prediction("a", FOUND, ""), 0.63, "unsure", id="below"),
        pytest.param(
            Prediction("a", FOUND, "", unlike=True), 0.9, "unlike", id="unlike"
        ),
        pytest.param(Prediction("a", None, "empty"), 0.0, "", id="bad"),
        pytest.param(
            Prediction("a", np.float32([0.1, 0.9]), ""),
            0.9,
            "accepted",
            id="rounded",
        ),
    ],
)
def test_the_decision_is_a_column_before_the_error(
    prediction: Prediction, threshold: float, expected: str
) -> None:
    assert csv_header(1, decides=True)[-2:] == ["decision", "error"]
    row = csv_row(prediction, NAMES, 1, Decide(threshold))
    assert row[-2:] == [expected, prediction.error]
