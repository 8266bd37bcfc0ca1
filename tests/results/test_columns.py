"""Columns of names in a terminal."""

from __future__ import annotations

from trainer.results.columns import padded
from trainer.results.report import per_class_lines


def test_wide_characters_take_two_columns() -> None:
    # 4, 2 + 2 + 1 + 2 = 7 and 4 columns; the accent combines with the e.
    texts = ["ramn", "\u5bff\u53f8 \U0001f363", "cafe\u0301"]
    assert padded(texts) == [
        "ramn   ",
        "\u5bff\u53f8 \U0001f363",
        "cafe\u0301   ",
    ]
    assert padded(texts, right=True) == [
        "   ramn",
        "\u5bff\u53f8 \U0001f363",
        "   cafe\u0301",
    ]


def test_short_names_stand_below_the_heading() -> None:
    metrics = {
        "test_per_class_accuracy": {"a": 1.0, "b": 0.0},
        "test_per_class_support": {"a": 1, "b": 1},
        "test_per_class_precision": {"a": 0.5, "b": None},
        "test_per_class_f1": {"a": 0.6667, "b": 0.0},
    }
    heading, *rows = per_class_lines(metrics)
    assert heading.index("accuracy") == 9
    for row in rows:
        assert row.index(".") == heading.index("accuracy") + 3
        assert len(row) == len(heading)
