"""The exact text of a plan and of a result."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.support.replicas import strategy_of
from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.model.freeze import FreezePlan, LayerRow
from trainer.results.report import (
    evaluation_line,
    per_class_lines,
    plan_lines,
    result_lines,
    unbalanced_lines,
)
from trainer.run.resolve import resolve

NAMES = ("apple pie", "борщ")


def samples(*counts: int) -> Samples:
    """Returns samples with these counts by class; the files do not exist."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    n = len(labels)
    return Samples(
        ids=tuple(str(i) for i in range(n)),
        labels=labels,
        paths=("",) * n,
        offsets=np.zeros(n, np.int64),
        lengths=np.full(n, WHOLE_FILE, np.int64),
    )


def manifest(final_split: str = "test") -> Manifest:
    """Returns a manifest of 9 training, 3 validation and 7 test samples."""
    validation, test = samples(1, 2), samples(3, 4)
    return Manifest(
        name="food",
        location="/food",
        class_names=NAMES,
        train=samples(5, 4),
        validation=validation,
        validation_source="test",
        final=test if final_split == "test" else validation,
        final_split=final_split,
        skipped=(),
        shared_content=(),
        fingerprint="f",
        train_total=9,
        splits={},
    )


def plan(unfreeze: str, unfrozen: tuple[str, ...], *trained: int) -> FreezePlan:
    """Returns a plan of three layers with these trained parameters."""
    layers = (("conv1", 108), ("bn", 16), ("head", 12810))
    return FreezePlan(
        unfreeze=unfreeze,
        unfrozen_layers=unfrozen,
        trainable=(),
        frozen=(),
        rows=tuple(
            LayerRow(name=n, kind=n.title(), params=p, trainable_params=t)
            for (n, p), t in zip(layers, trained, strict=True)
        ),
    )


HEAD_ONLY = plan("none", (), 0, 0, 12810)
LAST_TWO = plan("last:2", ("bn", "act"), 0, 8, 12810)


def lines(config: Config, *plans: FreezePlan, **options) -> list[str]:
    """Returns the lines that --dry_run prints, without trailing blanks."""
    config = resolve(config, 224)
    found = plan_lines(
        config,
        options.pop("manifest", manifest()),
        list(zip(config.stages(), plans, strict=True)),
        strategy_of(options.pop("replicas", 1)),
        xla=options.pop("xla", False),
        deterministic=options.pop("deterministic", True),
    )
    return [line.rstrip() for line in found]


def test_the_plan_of_a_finetune():
    config = Config(
        dataset="food", batch_size=4, epochs=2, head_epochs=3, unfreeze="last:2"
    )
    assert lines(config, HEAD_ONLY, LAST_TWO) == [
        "layer  kind                     parameters  trainable",
        "conv1  Conv1                           108  frozen",
        "bn     Bn                               16  8",
        "head   Head                         12,810  12,810",
        "",
        "stage feature_extract: 12,934 parameters in all, 12,810 trainable",
        # Nine images in batches of four.
        "  3 epochs of 3 steps of 4 = 9 steps, Adam at a constant 0.001",
        "stage finetune: 12,934 parameters in all, 12,818 trainable",
        "  --unfreeze=last:2: 2 layers, bn ... act",
        "  2 epochs of 3 steps of 4 = 6 steps, Adam at a constant 0.0001",
        "",
        "samples           train  validation        test",
        "apple pie             5           1           3",
        "борщ                  4           2           4",
        "all classes           9           3           7",
        "validation: photos of the test split",
        "",
        "devices: /job:localhost/replica:0/task:0/device:CPU:0"
        " (OneDeviceStrategy, 1 replicas), float32, XLA off,"
        " determinism on",
    ]


def test_the_plan_of_a_feature_extract_without_a_test_split():
    config = Config(
        stage="feature_extract",
        dataset="food",
        batch_size=32,
        epochs=1,
        learning_rate=2.5e-5,
        precision="bfloat16",
    )
    found = lines(
        config,
        HEAD_ONLY,
        manifest=manifest("validation"),
        replicas=2,
        xla=True,
        deterministic=False,
    )
    assert found[5:] == [
        "stage feature_extract: 12,934 parameters in all, 12,810 trainable",
        "  1 epochs of 1 steps of 32 = 1 steps, Adam at a constant 2.5e-05",
        "",
        "samples           train  validation",
        "apple pie             5           1",
        "борщ                  4           2",
        "all classes           9           3",
        "validation: photos of the test split",
        "",
        "devices: /job:localhost/replica:0/task:0/device:CPU:0,"
        " /job:localhost/replica:0/task:0/device:CPU:1"
        " (MirroredStrategy, 2 replicas), bfloat16, XLA on,"
        " determinism off",
    ]


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


def test_the_plan_says_when_a_run_may_end_early():
    config = Config(
        dataset="food", head_epochs=0, monitor="macro_f1", patience=3,
        time_limit=1.5,
    )  # fmt: skip
    found = lines(config, LAST_TWO)
    assert (
        "a stage ends after 3 epochs without a better validation macro F1"
        in found
    )
    assert "the run ends after 1.5 minutes of training" in found


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
        " split); the table is of the last step",
        "750 training examples, 906,042 of 4,062,381 parameters trained,"
        " 13 s in steps",
        "workdir: runs/x",
        "tensorboard --logdir runs/x",
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
            " the table is of the last step",
        ),
        (
            {"validation_from_test": False, "validation_source": "train"},
            "best validation accuracy 0.9000 at step 9 (on photos held out of"
            " the training subset); the table is of the last step",
        ),
        (
            {
                "validation_from_test": False,
                "validation_source": "fold 2 of 5",
            },
            "best validation accuracy 0.9000 at step 9 (on fold 2 of 5 of the"
            " training subset); the table is of the last step",
        ),
        ({"test_top5_accuracy": 0.98765}, "top-5 accuracy 0.9877"),
        (
            {"monitor": "macro_f1", "best_monitor_value": 0.75},
            "best validation macro F1 0.7500 (accuracy 0.9000) at step 9 (on"
            " photos of the test split); the table is of the last step",
        ),
        (
            {"result_checkpoint": "best", "result_step": 9},
            "best validation accuracy 0.9000 at step 9 (on photos of the test"
            " split); the table is of the best validation, step 9",
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
        " 9 (on photos of the test split); the table is of the last step",
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


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((5, 4), None),
        ((300, 101), None),
        (
            (300, 100),
            "data: unbalanced, 100 images of борщ to 300 of apple pie;"
            " accuracy favours large classes, see balanced accuracy and macro"
            " F1",
        ),
        (
            (1, 1200),
            "data: unbalanced, 1 images of apple pie to 1,200 of борщ;"
            " accuracy favours large classes, see balanced accuracy and macro"
            " F1",
        ),
    ],
)
def test_unbalanced_data_are_named(counts, line):
    data = dataclasses.replace(manifest(), train=samples(*counts))
    assert list(unbalanced_lines(data)) == ([line] if line else [])


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
