"""Refused flags of stages that look at data or runs, and train no run."""

from __future__ import annotations

from typing import Any

from tests.support.bad_flag_cases.case import BASE, USAGE, Case


def probing(**flags: Any) -> dict[str, Any]:
    """Returns the flags of a probe."""
    nothing = dict.fromkeys(BASE)
    return {**nothing, "stage": "probe", "dataset": "{root}/photos", **flags}


def embedding(**flags: Any) -> dict[str, Any]:
    """Returns the flags of embed with a plain backbone."""
    return {
        **dict.fromkeys(BASE),
        "workdir": None,
        "stage": "embed",
        "inputs": "{root}/photos",
        "backbone": "MobileNetV2",
        "weights": "none",
        "output": "{root}/out.npz",
        **flags,
    }


def souping(**flags: Any) -> dict[str, Any]:
    """Returns the flags of a soup."""
    workdirs = "{root}/a,{root}/b"
    nothing = dict.fromkeys(BASE)
    return {**nothing, "stage": "soup", "workdirs": workdirs, **flags}


def exporting(**flags: Any) -> dict[str, Any]:
    """Returns the flags of an export."""
    nothing = dict.fromkeys(BASE)
    return {**nothing, "stage": "export", "workdir": "{root}/run", **flags}


def searching(**flags: Any) -> dict[str, Any]:
    """Returns the flags of a search."""
    return {**BASE, "stage": "search", "budget": 5, **flags}


LOOKING = tuple(
    Case(name=name, flags=flags, status=USAGE, words=words)
    for name, flags, words in (
        (
            "probe of no name",
            probing(backbones="MobileNetV2,,VGG16"),
            ("--backbones='MobileNetV2,,VGG16': ''", "give NAME, NAME:"),
        ),
        (
            "probe of an unknown name",
            probing(backbones="MobilNetV2:weights=none"),
            ("--backbones=MobilNetV2:weights=none: ", "did you mean"),
        ),
        (
            "probe of missing weights",
            probing(backbones="VGG19"),
            ("--backbones=VGG19: its ImageNet weights", "or add :weights=FILE"),
        ),
        (
            "probe of a URL that is no folder",
            probing(dataset="{root}/nowhere", backbones="VGG19:weights=none"),
            ("--dataset='{root}/nowhere': no such folder",),
        ),
        (
            "probe with one backbone's flag",
            probing(backbone="VGG16"),
            ("--backbone: not read by --stage=probe", "leave it out"),
        ),
        (
            "backbones of a training",
            {"backbones": "VGG16"},
            ("--backbones: not read by --stage=feature_extract, only by",),
        ),
        (
            "search without a budget",
            searching(budget=None),
            ("--budget: not given; --stage=search needs", "give --budget=30"),
        ),
        (
            "search with a budget of 0",
            searching(budget=0),
            ("--budget=0: must be a number of minutes above 0",),
        ),
        (
            "search with a negative budget",
            searching(budget=-1),
            ("--budget=-1: must be a number of minutes above 0",),
        ),
        (
            "search with a budget that is no number",
            searching(budget="nan"),
            ("--budget=nan: must be a number of minutes above 0",),
        ),
        (
            "search that validates on test images",
            searching(validation="test"),
            ("--validation=test: chooses by test images", "give auto, split"),
        ),
        (
            "search over folds",
            searching(validation="kfold:3"),
            ("--validation=kfold:3: trains each trial once per fold", "fold:"),
        ),
        (
            "search with a flag of study",
            searching(models="0"),
            ("--models: not read by --stage=search, only by study",),
        ),
        (
            "search with a flag of probe",
            searching(backbones="VGG16"),
            ("--backbones: not read by --stage=search, only by probe",),
        ),
        (
            "search with a time limit",
            searching(time_limit=3),
            ("--time_limit: not read by --stage=search",),
        ),
        (
            "search from other weights",
            searching(init_from="{root}/run"),
            ("--init_from: not read by --stage=search",),
        ),
        (
            "search with the recipe of a head",
            searching(recipe="quick"),
            ("--recipe=quick: trains the head only, so not for",),
        ),
        (
            "search of nothing",
            searching(
                learning_rate=1,
                unfreeze="all",
                augment="off",
                label_smoothing=0,
            ),
            ("--stage=search: nothing is left to search", "leave one of them"),
        ),
        (
            "search of no data",
            searching(dataset="{root}/nowhere"),
            ("--dataset='{root}/nowhere': no such folder",),
        ),
        (
            "search in the folder of other files",
            searching(workdir="{root}/photos"),
            ("--workdir='{root}/photos': holds",),
        ),
        (
            "budget of a training",
            {"budget": 5},
            ("--budget: not read by --stage=feature_extract, only by search",),
        ),
        (
            "embed without images",
            embedding(inputs=None),
            ("--stage=embed: needs --inputs=IMAGES or --dataset",),
        ),
        (
            "embed of two sources",
            embedding(dataset="{root}/photos"),
            ("--stage=embed: needs --inputs=IMAGES or --dataset",),
        ),
        (
            "embed without weights",
            embedding(backbone=None, weights=None),
            ("--stage=embed: needs the classifier of a run, --workdir=RUN",),
        ),
        (
            "embed of a run and a backbone",
            embedding(workdir="{root}/run"),
            ("needs the classifier of a run, --workdir=RUN, or a plain",),
        ),
        (
            "embed without output",
            embedding(output=None),
            ("--output: not given; give FILE.npz",),
        ),
        (
            "embed of a run with weights",
            embedding(workdir="{root}/run", backbone=None),
            ("--weights: not read with --workdir; leave it out",),
        ),
        (
            "embed of a backbone with a checkpoint",
            embedding(checkpoint="best"),
            ("--checkpoint: not read with --backbone; leave it out",),
        ),
        (
            "embed of inputs with a test fraction",
            embedding(test_fraction=0.5),
            ("--test_fraction: not read with --inputs; leave it out",),
        ),
        (
            "embed of no such images",
            embedding(inputs="{root}/nowhere"),
            ("--inputs='{root}/nowhere': no such file",),
        ),
        (
            "embed in training mode",
            embedding(epochs=3),
            ("--epochs: not read by --stage=embed",),
        ),
        (
            "mirror images to find a rate",
            {"stage": "lr_find", "tta": "flip"},
            (
                "--tta: not read by --stage=lr_find, only by feature_extract,"
                " finetune, study, evaluate, predict, export, serve, search;"
                " leave it out",
            ),
        ),
        (
            "a rate to find a rate",
            {"stage": "lr_find", "learning_rate": 0.1},
            ("--learning_rate: not read by --stage=lr_find, only by",),
        ),
        (
            "a rate for several folds",
            {"stage": "lr_find", "validation": "kfold:3"},
            ("--validation=kfold:3: lr_find trains", "such as fold:1/3"),
        ),
        (
            "an unknown export format",
            exporting(export_formats="tflite,coreml"),
            (
                "--export_formats='tflite,coreml': 'coreml' is not a format",
                "give",
            ),
        ),
        (
            "int8 without tflite",
            exporting(quantize="int8"),
            ("--quantize=int8: read only for tflite", "add tflite there"),
        ),
        (
            "a format of a training",
            {"export_formats": "tflite"},
            ("--export_formats: not read by --stage=feature_extract",),
        ),
        (
            "a soup of one run",
            souping(workdirs="{root}/a"),
            ("--workdirs='{root}/a': must be two or more workdirs",),
        ),
        (
            "a soup without a folder",
            souping(workdir=None),
            ("--workdir='': --stage=soup needs a folder", "a new folder"),
        ),
    )
)
