"""Refused values of --unfreeze."""

from __future__ import annotations

from tests.support.bad_flag_cases.case import FINETUNE, USAGE, Case

_RULES = "last:N (N >= 1), all, none, from:LAYER, regex:PATTERN"

UNFREEZE = (
    Case(
        name="unfreeze matches nothing",
        flags={**FINETUNE, "unfreeze": "regex:conv"},
        status=USAGE,
        words=(
            "--unfreeze='regex:conv': matches none of the 10 layer names",
            "try regex:.*conv.*",
        ),
    ),
    Case(
        name="unfreeze from no layer",
        flags={**FINETUNE, "unfreeze": "from:conv9"},
        status=USAGE,
        words=(
            "--unfreeze='from:conv9'",
            "no layer 'conv9' (did you mean 'conv",
            "--dry_run lists the layers",
        ),
    ),
    Case(
        name="unfreeze too many",
        flags={**FINETUNE, "unfreeze": "last:11"},
        status=USAGE,
        words=(
            "--unfreeze='last:11': the backbone has 10 layers",
            "give last:1 to last:10, or all",
        ),
    ),
    Case(
        name="unfreeze nothing to train",
        flags={**FINETUNE, "unfreeze": "last:1"},
        status=USAGE,
        words=(
            "--unfreeze='last:1': none of its 1 layers (relu3)",
            "choose more, or none to train the head only",
        ),
    ),
    Case(
        name="unfreeze last:0",
        flags={**FINETUNE, "unfreeze": "last:0"},
        status=USAGE,
        words=("--unfreeze='last:0'", "N >= 1", "give for example last:10"),
    ),
    Case(
        name="unfreeze cannot be parsed",
        flags={**FINETUNE, "unfreeze": "top"},
        status=USAGE,
        words=("--unfreeze='top': cannot be parsed", _RULES),
    ),
    Case(
        name="unfreeze no epochs in a part",
        flags={**FINETUNE, "epochs": None, "unfreeze": "none@2,all@0"},
        status=USAGE,
        words=(
            "--unfreeze='none@2,all@0': part 2 has '0' epochs",
            "a whole number from 1 to 1000000 after the @, such as all@5",
        ),
    ),
    Case(
        name="unfreeze parts and epochs",
        flags={**FINETUNE, "epochs": 3, "unfreeze": "none@2,all@2"},
        status=USAGE,
        words=(
            "--epochs=3: not read with --unfreeze='none@2,all@2'",
            "leave it out",
        ),
    ),
    Case(
        name="unfreeze a part that matches nothing",
        flags={**FINETUNE, "epochs": None, "unfreeze": "none@2,from:conv9@2"},
        status=USAGE,
        words=("--unfreeze='from:conv9' (part 2)", "no layer 'conv9'"),
    ),
    Case(
        name="unfreeze parts in a study",
        flags={"stage": "study", "epochs": None, "unfreeze": "none@2,all@2"},
        status=USAGE,
        words=(
            "--unfreeze='none@2,all@2': --stage=study cannot fine-tune in",
            "give one rule without @, and --epochs",
        ),
    ),
    Case(
        name="unfreeze parts of a feature_extract",
        flags={"epochs": None, "unfreeze": "none@2,all@2"},
        status=USAGE,
        words=("--unfreeze: not read by --stage=feature_extract",),
    ),
    Case(
        name="unfreeze no regular expression",
        flags={**FINETUNE, "unfreeze": "regex:("},
        status=USAGE,
        words=("--unfreeze='regex:(': not a regular expression", _RULES),
    ),
)
