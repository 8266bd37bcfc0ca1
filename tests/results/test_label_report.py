"""The text of results of images with several labels."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.results.report import (
    evaluation_line,
    per_class_lines,
    result_lines,
)

METRICS: dict[str, Any] = {
    "task": "multilabel",
    "test_examples": 1200,
    "test_loss": 0.25,
    "test_map": 0.75,
    "test_map_classes": 1,
    "test_micro_f1": 0.5,
    "test_macro_f1": None,
    "test_exact_match": 0.125,
    "test_per_class_average_precision": {"cat": 0.75, "living room": None},
    "test_per_class_support": {"cat": 1000, "living room": 0},
    "test_per_class_precision": {"cat": 0.5, "living room": None},
    "test_per_class_recall": {"cat": 1.0, "living room": None},
    "test_per_class_f1": {"cat": 2 / 3, "living room": None},
    "thresholds": {"cat": 0.375, "living room": 0.5},
}
RESULT: dict[str, Any] = {
    **METRICS,
    "stage": "finetune",
    "steps": 20,
    "final_split": "test",
    "earlier_stages": [
        {
            "stage": "feature_extract",
            "steps": 10,
            "test_loss": 0.5,
            "test_examples": 1200,
        }
    ],
    "monitor": "loss",
    "best_step": 15,
    "best_validation_loss": 0.3125,
    "best_validation_map": 0.7,
    "result_checkpoint": "best",
    "validation_from_test": False,
    "validation_source": "split",
    "train_examples": 96,
    "trainable_params": 10,
    "total_params": 100,
    "train_seconds": 3.0,
}
CLASSES = [
    "mAP over 1 of 2 classes, those with examples; at the thresholds: micro F1"
    " 0.5000, macro F1 -, exact match 0.1250",
    "  class              AP  examples  threshold  precision  recall      F1",
    "  cat            0.7500     1,000     0.3750     0.5000  1.0000  0.6667",
    "  living room         -         0     0.5000          -       -       -",
]


def test_each_class_has_a_line() -> None:
    assert list(per_class_lines(METRICS)) == CLASSES


def test_a_class_without_values_has_dashes() -> None:
    changed = {**METRICS, "thresholds": {}, "test_per_class_support": {}}
    assert list(per_class_lines(changed))[2] == (
        "  cat            0.7500         0          -     0.5000  1.0000"
        "  0.6667"
    )


def test_an_evaluation_is_one_line() -> None:
    expected = "1200 examples: loss 0.2500, mAP 0.7500"
    assert evaluation_line(METRICS) == expected


@pytest.mark.parametrize(
    ("monitor", "shown"),
    [("loss", "loss 0.3125 (mAP 0.7000)"), ("map", "mAP 0.7000")],
)
def test_the_table_shows_map_and_f1(monitor: str, shown: str) -> None:
    lines = list(result_lines({**RESULT, "monitor": monitor}, "runs/a"))
    assert lines[:5] == [
        "",
        "stage                steps         test loss         mAP    micro F1"
        "    examples",
        "feature_extract         10            0.5000           -           -"
        "       1,200",
        "finetune                20            0.2500      0.7500      0.5000"
        "       1,200",
        "",
    ]
    assert lines[5:9] == CLASSES
    assert lines[9] == (
        f"best validation {shown} at step 15 (on its own split); the table"
        " shows the best validation, step 15"
    )
