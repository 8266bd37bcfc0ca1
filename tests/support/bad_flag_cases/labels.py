"""Refused flags of images with several labels."""

from __future__ import annotations

from typing import Any

from tests.support.bad_flag_cases.case import BASE, USAGE, Case

# The flags are checked before the table is opened.
_SEVERAL = {"task": "multilabel", "dataset": "{root}/none.csv"}


def _case(name: str, words: tuple[str, ...], **flags: Any) -> Case:
    return Case(
        name=f"labels: {name}",
        flags={**_SEVERAL, **flags},
        status=USAGE,
        words=words,
    )


def _stage(stage: str, **flags: Any) -> Case:
    """A stage that needs one label per image."""
    nothing = dict.fromkeys((*BASE, "workdir"))
    needs = ", which needs one label per image"
    return _case(
        stage,
        (
            f"--task: not read by --stage={stage}{needs}, only by"
            " feature_extract, finetune; leave it out",
        ),
        **{**nothing, **_SEVERAL, "stage": stage, **flags},
    )


_TASK = "not possible with --task=multilabel"
LABELS = (
    _case(
        "folder",
        (
            "--task=multilabel: needs a table of images, but --dataset=",
            "is not one; give a file with one of .csv, .tsv, .jsonl",
        ),
        dataset="{root}/photos",
    ),
    _case("demo", ("--dataset='demo' is not one",), dataset="demo"),
    _case("no such table", ("none.csv': no such file",)),
    _case("unknown", ("--task='multi'", "single, multilabel"), task="multi"),
    _case(
        "accuracy",
        (f"--monitor=accuracy: {_TASK}; give loss or map",),
        monitor="accuracy",
    ),
    _case("macro F1", (f"--monitor=macro_f1: {_TASK}",), monitor="macro_f1"),
    _case("shots", (f"--shots=2: {_TASK}", "give --data_pct"), shots=2),
    _case(
        "class weights",
        (f"--class_weights='balanced': {_TASK}", "leave it out"),
        class_weights="balanced",
    ),
    *(
        _case(
            f"validation {value}",
            (f"--validation={value}: no folds with --task=multilabel",),
            validation=value,
        )
        for value in ("kfold:3", "fold:1/3")
    ),
    Case(
        name="labels: mAP of one label",
        flags={"monitor": "map"},
        status=USAGE,
        words=("--monitor=map: only with --task=multilabel; give accuracy",),
    ),
    *map(_stage, ("study", "check_data", "probe", "lr_find")),
    _stage("search", budget=1),
    Case(
        name="labels: evaluate",
        flags={
            **dict.fromkeys(BASE),
            "stage": "evaluate",
            "task": "multilabel",
        },
        status=USAGE,
        words=("--task: not read by --stage=evaluate, only by",),
    ),
)
