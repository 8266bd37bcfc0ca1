"""The exact text of a result."""

from __future__ import annotations

import pytest

from trainer.results.report import (
    evaluation_line,
    per_class_lines,
    result_lines,
)

RESULT = {
    "stage": "finetune",
    "steps": 12,
    "final_split": "test",
    "test_loss": 0.61237,
    "test_accuracy": 0.85,
    "test_per_class_accuracy": {"apple pie": 2 / 3, "борщ": None},
    "validation_from_test": True,
    "best_validation_accuracy": 0.9,
    "best_step": 9,
    "train_examples": 750,
    "trainable_params": 906042,
    "total_params": 4062381,
    "train_seconds": 12.6,
}
STOPPED = {
    "reason": "patience",
    "epoch": 7,
    "mid_epoch": False,
    "epochs": 20,
    "limit": 3,
}


def test_the_table_of_a_result():
    assert list(result_lines(RESULT, "runs/x")) == [
        "",
        "stage                steps         test loss    accuracy",
        "finetune                12            0.6124      0.8500",
        "",
        "  apple pie  0.6667",
        "  борщ       no examples",
        "best validation accuracy 0.9000 at step 9 (on photos of the test"
        " split); the table shows the last step",
        "750 training examples, 906,042 of 4,062,381 parameters trained,"
        " 13 s in steps",
        "workdir: runs/x",
        "tensorboard --logdir runs/x/tensorboard",
        "python main.py --stage=predict --workdir=runs/x '--inputs=new/*.jpg'",
        "python main.py --stage=export --workdir=runs/x",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {
                "earlier_stages": [
                    {
                        "stage": "feature_extract",
                        "steps": 6,
                        "test_loss": 1.25,
                        "test_accuracy": 0.5,
                    }
                ]
            },
            "feature_extract          6            1.2500      0.5000",
        ),
        (
            {"final_split": "validation"},
            "stage                steps   validation loss    accuracy",
        ),
        (
            {"validation_from_test": False},
            "best validation accuracy 0.9000 at step 9 (on its own split);"
            " the table shows the last step",
        ),
        (
            {"validation_from_test": False, "validation_source": "train"},
            "best validation accuracy 0.9000 at step 9 (on photos held out of"
            " the training subset); the table shows the last step",
        ),
        (
            {
                "validation_from_test": False,
                "validation_source": "fold 2 of 5",
            },
            "best validation accuracy 0.9000 at step 9 (on fold 2 of 5 of the"
            " training subset); the table shows the last step",
        ),
        ({"test_top5_accuracy": 0.98765}, "top-5 accuracy 0.9877"),
        (
            {"monitor": "macro_f1", "best_monitor_value": 0.75},
            "best validation macro F1 0.7500 (accuracy 0.9000) at step 9 (on"
            " photos of the test split); the table shows the last step",
        ),
        (
            {"result_checkpoint": "best", "result_step": 9},
            "best validation accuracy 0.9000 at step 9 (on photos of the test"
            " split); the table shows the best validation, step 9",
        ),
        (
            {"stopped_early": STOPPED},
            "finetune: stopped after epoch 7 of 20: no better validation for"
            " 3 epochs",
        ),
        (
            {
                "earlier_stages": [
                    {
                        "stage": "feature_extract",
                        "steps": 6,
                        "test_loss": 1.25,
                        "test_accuracy": 0.5,
                        "stopped_early": STOPPED
                        | {"reason": "time_limit", "mid_epoch": True},
                    }
                ]
            },
            "feature_extract: stopped in epoch 7 of 20: the time limit of 3"
            " minutes",
        ),
    ],
)
def test_a_line_of_the_table(changes, line):
    assert line not in list(result_lines(RESULT, "runs/x"))
    found = list(result_lines({**RESULT, **changes}, "runs/x"))
    assert line in found


WHOLE = {
    **RESULT,
    "test_examples": 2500,
    "test_balanced_accuracy": 0.8444,
    "test_macro_f1": 0.83333,
    "test_per_class_accuracy": {"apple pie": 2 / 3, "борщ": None, "c": 0.9},
    "test_per_class_support": {"apple pie": 3, "борщ": 0, "c": 2497},
    "test_per_class_precision": {"apple pie": None, "борщ": None, "c": 0.5},
    "test_per_class_f1": {"apple pie": 0.0, "борщ": None, "c": 2 / 3},
    "validation_examples": 16,
    "earlier_stages": [
        {
            "stage": "feature_extract",
            "steps": 6,
            "test_loss": 1.25,
            "test_accuracy": 0.5,
            "test_examples": 2500,
        }
    ],
}


def test_the_table_with_intervals():
    found = list(result_lines(WHOLE, "runs/x"))
    assert found[1:11] == [
        "stage                steps         test loss    accuracy"
        "     95 % interval    examples",
        "feature_extract          6            1.2500      0.5000"
        "    [0.480, 0.520]       2,500",
        "finetune                12            0.6124      0.8500"
        "    [0.835, 0.863]       2,500",
        "",
        "balanced accuracy 0.8444, macro F1 0.8333",
        "  class      accuracy   95 % interval  examples  precision      F1",
        "  apple pie    0.6667  [0.208, 0.939]         3          -  0.0000",
        "  борщ       no examples",
        "  c            0.9000  [0.888, 0.911]     2,497     0.5000  0.6667",
        "best validation accuracy 0.9000 [0.670, 0.976] of 16 examples at step"
        " 9 (on photos of the test split); the table shows the last step",
    ]


@pytest.mark.parametrize(
    "changes", [{"test_accuracy": 7.5}, {"test_examples": -3}]
)
def test_a_result_that_is_no_accuracy_has_no_interval(changes):
    """A workdir may come from another person."""
    found = list(result_lines({**WHOLE, **changes}, "runs/x"))
    assert "[" not in found[3]
    assert found[3].startswith("finetune                12            0.6124")


def test_the_line_of_an_evaluation():
    metrics = {"test_examples": 4, "test_loss": 0.5, "test_accuracy": 0.75}
    assert evaluation_line(metrics) == (
        "4 examples: loss 0.5000, accuracy 0.7500 [0.301, 0.954]"
    )


def test_the_stages_are_in_order():
    earlier = {**RESULT, "stage": "feature_extract"}
    found = list(result_lines({**RESULT, "earlier_stages": [earlier]}, "x"))
    assert [line.split()[0] for line in found[2:4]] == [
        "feature_extract",
        "finetune",
    ]


def test_per_class_lines_without_top5():
    metrics = {"test_per_class_accuracy": {"a": 1.0, "long name": 0.0}}
    assert list(per_class_lines(metrics)) == [
        "  a          1.0000",
        "  long name  0.0000",
    ]
