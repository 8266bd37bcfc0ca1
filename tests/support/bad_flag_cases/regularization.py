"""Refused flags of mixing, erasing and dropout."""

from __future__ import annotations

from tests.support.bad_flag_cases.case import FINETUNE, USAGE, Case

REGULARIZATION = (
    Case(
        name="mix without a number",
        flags={"mix": "mixup"},
        status=USAGE,
        words=(
            "--mix='mixup': must be off, mixup:A or cutmix:A with a number A"
            " from 0.001 to 1000; give mixup:0.2 or cutmix:1",
        ),
    ),
    *(
        Case(
            name=f"{flag} without augmentation",
            flags={
                "stage": "feature_extract",
                "augment": "off",
                flag: value,
            },
            status=USAGE,
            words=(
                f"--{flag}={value}: needs images, but feature_extract trains on"
                " cached features with --augment=off; give --augment=mild",
            ),
        )
        for flag, value in (("mix", "cutmix:1"), ("erasing", "0.5"))
    ),
    Case(
        name="mix and head_views",
        flags={**FINETUNE, "head_views": 2, "mix": "mixup:0.2"},
        status=USAGE,
        words=(
            "--mix=mixup:0.2: needs images, but the head trains on cached"
            " features with --head_views=2; leave one of them out",
        ),
    ),
    Case(
        name="mix of one image",
        flags={"batch_size": 1, "mix": "mixup:0.2"},
        status=USAGE,
        words=("mixes the images of a batch", "give a larger batch"),
    ),
    *(
        Case(
            name=f"{flag} of a solved head",
            flags={
                "stage": "feature_extract",
                "head_solver": "lbfgs",
                "epochs": None,
                flag: value,
            },
            status=USAGE,
            words=(f"--{flag}: not read with --head_solver=lbfgs",),
        )
        for flag, value in (
            ("mix", "mixup:0.2"),
            ("erasing", 0.5),
            ("dropout", 0.5),
        )
    ),
    *(
        Case(
            name=f"{flag} {value}",
            flags={flag: value},
            status=USAGE,
            words=(f"--{flag}={value}: must be a number from 0 to",),
        )
        for flag, value in (("erasing", "1.5"), ("dropout", "1"))
    ),
)
