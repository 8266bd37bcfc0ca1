"""The exact text of a plan."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.support.replicas import strategy_of
from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.model.freeze import FreezePlan, LayerRow
from trainer.results.plan import plan_lines
from trainer.results.report import unbalanced_lines
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
        " (OneDeviceStrategy, 1 replica), float32, XLA off,"
        " determinism on",
    ]


def test_the_plan_of_a_finetune_in_parts():
    config = Config(
        dataset="food",
        batch_size=4,
        head_epochs=0,
        unfreeze="none@1,regex:bn@2,all@3",
    )
    every = plan("all", ("conv1", "bn", "act"), 108, 8, 12810)
    bn = plan("regex:bn", ("bn",), 0, 8, 12810)
    assert lines(config, HEAD_ONLY, bn, every)[:14] == [
        "layer  kind                     parameters  trainable",
        "conv1  Conv1                           108  108 in part 3",
        "bn     Bn                               16  8 in parts 2, 3",
        "head   Head                         12,810  12,810",
        "",
        "stage finetune-1: 12,934 parameters in all, 12,810 trainable",
        "  --unfreeze=none: the head only",
        "  1 epochs of 3 steps of 4 = 3 steps, Adam at a constant 0.0001",
        "stage finetune-2: 12,934 parameters in all, 12,818 trainable",
        "  --unfreeze=regex:bn: 1 layers, bn ... bn",
        "  2 epochs of 3 steps of 4 = 6 steps, Adam at a constant 0.0001",
        "stage finetune-3: 12,934 parameters in all, 12,926 trainable",
        "  --unfreeze=all: 3 layers, conv1 ... act",
        "  3 epochs of 3 steps of 4 = 9 steps, Adam at a constant 0.0001",
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


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((5, 4), None),
        ((300, 101), None),
        (
            (300, 100),
            "data: unbalanced, 100 images of борщ to 300 of apple pie;"
            " accuracy favours large classes, see balanced accuracy and macro"
            " F1; --class_weights=balanced weights the loss",
        ),
        (
            (1, 1200),
            "data: unbalanced, 1 image of apple pie to 1,200 of борщ;"
            " accuracy favours large classes, see balanced accuracy and macro"
            " F1; --class_weights=balanced weights the loss",
        ),
    ],
)
def test_unbalanced_data_are_named(counts, line):
    data = dataclasses.replace(manifest(), train=samples(*counts))
    assert list(unbalanced_lines(data)) == ([line] if line else [])
