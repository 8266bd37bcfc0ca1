"""Recipes: named sets of defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config.fields import (
    ADAM,
    ADAMW,
    APPLY,
    BEST_RECIPE,
    COSINE,
    CROP,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FLIP,
    IGNORE,
    LBFGS,
    LOSS,
    LR_FIND,
    MILD,
    MULTILABEL,
    OFF,
    QUICK,
    STRETCH,
    TUTORIAL,
    WHITE,
    Fields,
)
from trainer.errors import UsageError

# What each recipe sets; a stage takes the flags that it reads.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    TUTORIAL: {},
    QUICK: {"head_solver": LBFGS},
    BEST_RECIPE: {
        "head_solver": LBFGS,
        "unfreeze": "all",
        "optimizer": ADAMW,
        "weight_decay": 0.01,
        "learning_rate": 3e-4,
        "schedule": COSINE,
        "warmup": 0.05,
        "epochs": 10,
        "min_steps": 600,
        "label_smoothing": 0.1,
        "dropout": 0.2,
        "ema": 0.99,
        "augment": MILD,
        "tta": FLIP,
    },
}
# What unset flags of images mean. `run.resolve` sets them, because a workdir
# of a version without these flags keeps what that version did.
BEFORE_RENDERING = {"exif": IGNORE, "background": OFF, "resize": STRETCH}
RENDERING: Mapping[str, Mapping[str, str]] = {
    TUTORIAL: BEFORE_RENDERING,
    QUICK: {"exif": APPLY, "background": WHITE, "resize": STRETCH},
    BEST_RECIPE: {"exif": APPLY, "background": WHITE, "resize": CROP},
}
# What a solved head does not read.
_STEPS_ONLY = frozenset(RECIPES[BEST_RECIPE]) - {"head_solver", "tta"}


def expand(values: Mapping[str, Any], given: frozenset[str]) -> dict[str, Any]:
    """Returns the values of all flags, those of the recipe included.

    With several labels per image, --monitor is the loss unless it is given.

    With --optimizer=adam, which has no weight decay, the recipe sets none. A
    fine-tune with --init_from trains no head, so the recipe does not choose
    its solver.

    Args:
      values: the value of each flag, by name.
      given: names of the flags given explicitly, which override the recipe.

    Raises:
      UsageError: the recipe is not for this stage.
    """
    expanded = dict(values)
    stage, recipe = values["stage"], values["recipe"]
    if recipe == QUICK and stage != FEATURE_EXTRACT:
        raise UsageError(
            f"--recipe={QUICK}: trains the head only, so not for"
            f" --stage={stage}; give --stage={FEATURE_EXTRACT}, or"
            f" --recipe={BEST_RECIPE}"
        )
    kept = given | _excluded(values, given)
    for name, value in RECIPES.get(recipe, {}).items():
        if name not in kept and stage in FIELDS[name].metadata["stages"]:
            expanded[name] = value
    if stage == FEATURE_EXTRACT and expanded["head_solver"] == LBFGS:
        # The head is solved, so that there are no steps to set.
        for name in _STEPS_ONLY & expanded.keys() - given:
            expanded[name] = values[name]
    if expanded["task"] == MULTILABEL and "monitor" not in given:
        expanded["monitor"] = LOSS
    return expanded


def _excluded(values: Mapping[str, Any], given: frozenset[str]) -> set[str]:
    """Returns the flags that a given flag excludes from the recipe."""
    excluded = set()
    if "optimizer" in given and values["optimizer"] == ADAM:
        excluded.add("weight_decay")
    warm = values["init_from"] is not None
    if warm and values["stage"] in (FINETUNE, LR_FIND):
        excluded.add("head_solver")
    return excluded


def summary(config: Fields) -> str:
    """Returns the flags that the recipe of a run has set, as typed."""
    values = RECIPES[config.recipe]
    return " ".join(
        f"--{name}={value}"
        for name, value in values.items()
        if getattr(config, name) == value
    )
