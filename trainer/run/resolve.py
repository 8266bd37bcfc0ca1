"""Resolves the unset flags of a run.

Some depend on the file system: if a folder "demo" exists, --dataset=demo means
that folder. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from trainer.config import Config, ResolvedConfig
from trainer.config.fields import (
    AUTO,
    CHECK_DATA,
    DEFAULT_BACKBONE,
    DEMO,
    DEMO_BACKBONE,
    DEMO_IMAGE_PX,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    IMAGENET,
    LBFGS,
    LR_FIND,
    OFF,
    PROBE,
    SEARCH,
    STUDY,
    TRAINING_STAGES,
    TUTORIAL,
)
from trainer.config.recipes import BEFORE_RENDERING, RENDERING, summary
from trainer.config.unfreeze import parse_parts
from trainer.errors import TrainerError, UsageError
from trainer.storage import files
from trainer.workdir import CONFIG, Workdir
from trainer.workdir.folds import fold_workdir

# Flags that did not exist in 0.1.0. At their defaults they do not count in the
# name of the default workdir, so that an old command finds its old run.
_LATER_FLAGS = {
    name: FIELDS[name].default
    for name in (
        "head_solver",
        "head_l2",
        "head_views",
        "class_weights",
        "monitor",
        "patience",
        "time_limit",
        "validation",
        "optimizer",
        "momentum",
        "weight_decay",
        "schedule",
        "warmup",
        "min_steps",
        "backbone_lr_scale",
        "layer_decay",
        "label_smoothing",
        "mix",
        "erasing",
        "dropout",
        "ema",
        "columns",
        "group_by",
        "shots",
        "train_split",
        "val_split",
        "test_split",
        "on_duplicate",
        "tta",
        "task",
    )
}
_PRECISION = {False: "float32", True: "bfloat16"}
LEARNING_RATES = {FEATURE_EXTRACT: 1e-3, FINETUNE: 1e-4}


def resolve(
    config: Config, image_px: int, *, on_tpu: bool = False
) -> ResolvedConfig:
    """Returns the configuration with a value for each unset flag.

    Args:
      config: the configuration as given; a resolved one does not change.
      image_px: the backbone's own image size, in pixels.
      on_tpu: whether the run trains on a TPU.
    """
    small = _is_demo(config) or (
        config.stage == CHECK_DATA and config.backbone is None
    )
    own_px = DEMO_IMAGE_PX if small else image_px
    parts = parse_parts(config.unfreeze) if config.stage == FINETUNE else ()
    decided: dict[str, Any] = {
        "backbone": backbone_name(config),
        "weights": config.weights or IMAGENET,
        "learning_rate": config.learning_rate
        or LEARNING_RATES.get(config.stage),
        "epochs": 1
        if _is_solved(config)
        else sum(part.epochs for part in parts) or config.epochs,
        # A single part RULE@N is recorded as RULE with --epochs=N.
        "unfreeze": parts[0].rule if len(parts) == 1 else config.unfreeze,
        "image_size": config.image_size or own_px,
        "precision": _PRECISION[on_tpu]
        if config.precision == AUTO
        else config.precision,
    }
    decided["workdir"] = config.workdir or default_workdir(
        dataclasses.replace(config, **decided)
    )
    decided |= _rendering(config, decided["workdir"])
    fields = dataclasses.fields(config)
    values = {field.name: getattr(config, field.name) for field in fields}
    return ResolvedConfig(**{**values, **decided})


def _rendering(config: Config, workdir: str) -> dict[str, str]:
    """Returns the flags of images: as given, of the workdir, or the recipe's.

    A run that began in a version without these flags has no values of them.
    """
    folder = fold_workdir(workdir, 1) if config.runs_folds else workdir
    try:
        runs = (Workdir(folder).read_json(CONFIG) or {}).get("runs", {})
    except (TrainerError, UsageError):
        # The code that opens the workdir reports it.
        runs = {}
    stored = next(iter(runs.values()), None)
    defaults = (
        RENDERING[config.recipe]
        if stored is None
        else {
            name: str(stored.get(name) or before)
            for name, before in BEFORE_RENDERING.items()
        }
    )
    return {
        name: getattr(config, name) or default
        for name, default in defaults.items()
    }


def backbone_name(config: Config) -> str:
    """Returns the given backbone, or the dataset's default."""
    # A check needs no network, and is quick with a small backbone.
    offline = _is_demo(config) or config.stage == CHECK_DATA
    default = DEMO_BACKBONE if offline else DEFAULT_BACKBONE
    return config.backbone or default


def introduction(config: Config) -> Iterator[str]:
    """Yields lines for the user about the defaults that a run uses."""
    if _is_demo(config):
        yield (
            "this is the demo, ten dishes drawn by a program; for your own"
            " photos give --dataset=FOLDER, for Food-101 --dataset=food10"
        )
        if config.backbone is None:
            yield (
                f"--backbone not given: {DEMO_BACKBONE}, whose ImageNet"
                " weights are installed with this program; for other data it"
                f" is {DEFAULT_BACKBONE}"
            )
    steps = (*TRAINING_STAGES, LR_FIND, SEARCH)
    if config.stage in steps and config.recipe != TUTORIAL:
        yield f"--recipe={config.recipe}: {summary(config)}"
    if config.weights is None and backbone_name(config) != DEMO_BACKBONE:
        yield (
            "--weights not given: imagenet (downloaded by Keras;"
            " --weights=FILE takes others, and"
            f" --backbone={DEMO_BACKBONE} needs no network)"
        )


def default_workdir(config: Config) -> str:
    """Returns `runs/DATASET-BACKBONE-STAGE-PCT-HASH`.

    Args:
      config: resolved, except for `workdir`.
    """
    fields = config.result_fields()
    for name, value in _LATER_FLAGS.items():
        if name in fields and fields[name] == value:
            del fields[name]
    for name, value in RENDERING[config.recipe].items():
        if fields.get(name) in (None, value):
            fields.pop(name, None)
    # As it was up to 0.1.0.
    before = {OFF: False, TUTORIAL: True}
    if fields.get("augment") in before:
        fields["augment"] = before[fields["augment"]]
    for name in ("dataset", "weights", "init_from", "class_weights"):
        # Two spellings of one path must give the same hash.
        path = fields.get(name)
        if path and (files.is_remote(path) or files.exists(path)):
            fields[name] = files.absolute(path)
    text = json.dumps(fields, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    source = os.path.basename(files.absolute(config.dataset))
    parts = [source, config.stage]
    if config.stage != PROBE:
        parts.insert(1, backbone_name(config))
    if config.stage not in (STUDY, CHECK_DATA):
        shots = config.shots
        parts.append(f"{shots}shots" if shots else f"{config.data_pct:g}pct")
    name = "-".join((*parts, digest))
    return os.path.join("runs", re.sub(r"[^\w.-]+", "_", name))


def _is_solved(config: Config) -> bool:
    """Returns whether the run solves a head exactly and does nothing else."""
    return config.stage == FEATURE_EXTRACT and config.head_solver == LBFGS


def _is_demo(config: Config) -> bool:
    # A folder of that name is the user's data.
    return config.dataset == DEMO and not files.is_dir(DEMO)
