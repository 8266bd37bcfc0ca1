"""Checks the flags that were given explicitly, beside each other."""

from __future__ import annotations

from trainer.config.checks import check_images, check_views
from trainer.config.fields import (
    AUTO,
    CHECK_DATA,
    EMBED,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    JSON_LINES,
    LBFGS,
    LR_FIND,
    NONE,
    OFF,
    PREDICT,
    PROBE,
    SEARCH,
    STUDY,
    TRAINING_STAGES,
    Fields,
)
from trainer.config.unfreeze import parse_parts
from trainer.config.validation import KFOLD, TEST, parse_validation
from trainer.errors import UsageError

# What a stage does not read if its head is solved: there are no steps, and the
# images are not augmented.
UNREAD_BY_SOLVER = {
    FEATURE_EXTRACT: (
        "augment",
        "clip_global_norm",
        "epochs",
        "learning_rate",
        "monitor",
        "patience",
        "scale_lr",
        "time_limit",
        "optimizer",
        "momentum",
        "weight_decay",
        "schedule",
        "warmup",
        "min_steps",
        "label_smoothing",
        "mix",
        "erasing",
        "dropout",
        "ema",
        "profile",
    ),
    FINETUNE: ("head_epochs", "head_learning_rate"),
    LR_FIND: ("head_epochs", "head_learning_rate"),
    STUDY: ("head_epochs", "head_learning_rate"),
    SEARCH: ("head_epochs", "head_learning_rate"),
}
# The stages that read data, but not images with several labels.
_ONE_LABEL_STAGES = (STUDY, CHECK_DATA, PROBE, LR_FIND, SEARCH)
# What embed does not read with the flag in front.
_UNREAD_BY_EMBED = {
    "inputs": (
        "tfds_data_dir",
        "columns",
        "group_by",
        "test_fraction",
        "train_split",
        "val_split",
        "test_split",
    ),
    "workdir": (
        "backbone_args",
        "weights",
        "weights_origin",
        "image_size",
        "exif",
        "background",
        "resize",
    ),
    "backbone": ("checkpoint",),
}


def check_given(stage: str, given: frozenset[str]) -> None:
    """Rejects flags that the stage does not read.

    Args:
      stage: a legal stage.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: there is such a flag; the message names the first one.
    """
    for name in sorted(given & FIELDS.keys()):
        stages = FIELDS[name].metadata["stages"]
        if stage not in stages:
            needs = (
                ", which needs one label per image"
                if name == "task" and stage in _ONE_LABEL_STAGES
                else ""
            )
            raise UsageError(
                f"--{name}: not read by --stage={stage}{needs}, only by"
                f" {', '.join(stages)}; leave it out"
            )


def check_solved_head(fields: Fields, given: frozenset[str]) -> None:
    """Rejects flags that the head's stage cannot read.

    Those are flags of training steps with `--head_solver=lbfgs`, and flags
    that leave `--head_views` nothing to cache.

    Args:
      fields: of the run.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: naming the first such flag.
    """
    if fields.stage in (*TRAINING_STAGES, LR_FIND, SEARCH):
        check_views(fields)
        check_images(fields)
    if fields.head_solver != LBFGS:
        return
    for name in UNREAD_BY_SOLVER.get(fields.stage, ()):
        if name == "augment" and fields.head_views:
            continue
        if name in given:
            raise UsageError(
                f"--{name}: not read with --head_solver={LBFGS}, which solves"
                " the head exactly, on un-augmented images and without"
                " training steps; leave it out, or give --head_solver=adam"
            )
    follows = fields.stage in (FINETUNE, LR_FIND)
    if follows and fields.init_from is not None:
        raise UsageError(
            f"--head_solver={LBFGS}: not read with --init_from, whose head"
            f" {fields.stage} starts from; leave one of them out"
        )


def check_read_by_finetune(fields: Fields, given: frozenset[str]) -> None:
    """Rejects flags of a head or a backbone that the run does not train.

    Args:
      fields: of the run.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: naming the first such flag.
    """
    for name, reason in unread_by_finetune(fields).items():
        if name in given:
            raise UsageError(
                f"--{name}={getattr(fields, name):g}: not read with {reason};"
                " leave one of them out"
            )


def unread_by_finetune(fields: Fields) -> dict[str, str]:
    """Returns flags that a run refuses, each with the flag that excludes it.

    Args:
      fields: of a run of any stage.
    """
    unread = {}
    if fields.stage in (FINETUNE, LR_FIND) and not fields.head_epochs:
        unread["head_learning_rate"] = "--head_epochs=0, which trains no head"
    if fields.stage in (FINETUNE, LR_FIND, SEARCH):
        parts = parse_parts(fields.unfreeze)
        rules = {part.rule for part in parts} or {fields.unfreeze}
        if rules == {NONE}:
            flag = f"--unfreeze={fields.unfreeze}, which trains no backbone"
            unread |= dict.fromkeys(("backbone_lr_scale", "layer_decay"), flag)
    return unread


def warm_start_warnings(fields: Fields, given: frozenset[str]) -> list[str]:
    """Returns a warning for each given flag that --init_from makes useless.

    These flags are not rejected: the error of a run that cannot be continued
    advises --init_from, and adding it to the same command must work.

    Args:
      fields: of the run.
      given: the names of the flags that were given explicitly.
    """
    if fields.stage not in (FINETUNE, LR_FIND) or fields.init_from is None:
        return []
    return [
        f"warning: --{name}={getattr(fields, name):g}: not read with"
        " --init_from, whose head the run starts from"
        for name in ("head_epochs", "head_learning_rate")
        if name in given and getattr(fields, name)
    ]


def check_parts(fields: Fields, given: frozenset[str]) -> None:
    """Rejects --epochs if --unfreeze sets the epochs of its parts.

    Args:
      fields: the fields of the run.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: both are given.
    """
    if (
        fields.stage == FINETUNE
        and "epochs" in given
        and parse_parts(fields.unfreeze)
    ):
        raise UsageError(
            f"--epochs={fields.epochs}: not read with"
            f" --unfreeze={fields.unfreeze!r}, which sets the epochs of each"
            " part; leave it out"
        )


def check_validation(fields: Fields, given: frozenset[str]) -> None:
    """Rejects --validation_fraction if --validation does not read it.

    Args:
      fields: of the run.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: both are given, and exclude each other.
    """
    if "validation_fraction" in given and fields.validation not in (None, TEST):
        raise UsageError(
            f"--validation_fraction={fields.validation_fraction:g}: not read"
            f" with --validation={fields.validation}, only with"
            f" --validation={TEST}; leave it out"
        )


def check_embed(fields: Fields, given: frozenset[str]) -> None:
    """Checks that embed has one source of images and one of weights.

    Args:
      fields: of the command.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: one is missing, or given twice; or there is no output.
    """
    if fields.stage != EMBED:
        return
    if ("dataset" in given) == ("inputs" in given):
        raise UsageError(
            "--stage=embed: needs --inputs=IMAGES or --dataset=FOLDER, which"
            " also has labels; give one of them"
        )
    if (fields.workdir is None) == (fields.backbone is None):
        raise UsageError(
            "--stage=embed: needs the classifier of a run, --workdir=RUN, or a"
            " plain backbone, --backbone=NAME; give one of them"
        )
    if not fields.output:
        raise UsageError(
            "--output: not given; give FILE.npz, or a folder for TensorBoard's"
            " projector"
        )
    for other, names in _UNREAD_BY_EMBED.items():
        for name in names:
            if name in given and other in given:
                raise UsageError(
                    f"--{name}: not read with --{other}; leave it out"
                )


def check_predict(fields: Fields, given: frozenset[str]) -> None:
    """Checks the file of predictions, and that --dataset is read.

    Args:
      fields: of the command.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: one of them is not possible.
    """
    if fields.stage != PREDICT:
        return
    if "dataset" in given and fields.reject == OFF:
        raise UsageError(
            f"--dataset={fields.dataset!r}: read only with --reject={AUTO},"
            " which needs the photos of the run; the images to predict are"
            " --inputs"
        )
    if (fields.output or "").lower().endswith(".json"):
        raise UsageError(
            f"--output={fields.output!r}: predictions are CSV or JSON lines,"
            f" one object per image; give FILE.csv or FILE{JSON_LINES}"
        )


def check_search(fields: Fields) -> None:
    """Checks the budget and the validation of a search.

    Args:
      fields: the fields of the search.

    Raises:
      UsageError: the budget is missing, or the validation uses test images or
        several folds.
    """
    if fields.stage != SEARCH:
        return
    if fields.budget is None:
        raise UsageError(
            f"--budget: not given; --stage={SEARCH} needs a time limit in"
            " minutes; give --budget=30, for example"
        )
    if fields.validation is None:
        return
    mode = parse_validation(fields.validation).mode
    problems = {
        TEST: "chooses by test images, so test accuracy would be too high",
        KFOLD: "trains each trial once per fold",
    }
    if mode in problems:
        raise UsageError(
            f"--validation={fields.validation}: {problems[mode]}; give auto,"
            " split, train:FRACTION or fold:N/K"
        )
