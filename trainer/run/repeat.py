"""The command that repeats a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.config.fields import (
    FIELDS,
    FINETUNE,
    FREE,
    LBFGS,
    TRAINING_STAGES,
)
from trainer.config.given import UNREAD_BY_SOLVER, unread_by_finetune
from trainer.config.recipes import expand
from trainer.config.unfreeze import parse_parts
from trainer.results.commands import command_line

# Flags without an effect on results that say where the data is.
_PLACES = ("tfds_data_dir", "recipe")


def repeat_command(config: Config) -> str:
    """Returns the command that trains the same again, in another workdir.

    It has the flags that differ from what stage and recipe set, but none that
    has no effect on the results.

    Args:
      config: the resolved configuration of a training run.
    """
    chosen = {"stage": config.stage}
    if config.stage in TRAINING_STAGES:
        chosen["recipe"] = config.recipe
    defaults = {name: field.default for name, field in FIELDS.items()}
    before = expand({**defaults, **chosen}, frozenset(chosen))
    unread = _unread(config)
    flags: dict[str, Any] = {"stage": config.stage}
    for name, field in FIELDS.items():
        value = getattr(config, name)
        same = value == (defaults if name in _PLACES else before)[name]
        read = config.stage in field.metadata["stages"] and name not in unread
        free = field.metadata["effect"] == FREE and name not in _PLACES
        if read and not free and not same and value is not None:
            flags[name] = value
    return command_line(flags)


def _unread(config: Config) -> set[str]:
    """Returns flags that the stage refuses together with other flags."""
    unread = set(unread_by_finetune(config))
    if config.head_solver == LBFGS:
        unread |= {*UNREAD_BY_SOLVER.get(config.stage, ())}
        if config.head_views:
            unread.discard("augment")
    if config.stage == FINETUNE and parse_parts(config.unfreeze):
        # Each part has its own number of epochs.
        unread.add("epochs")
    return unread


def flags_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags in config.json that its stage reads.

    Args:
      stored: the value of `config`.
    """
    stage = stored.get("stage")
    return {
        name: stored[name]
        for name, field in FIELDS.items()
        if name in stored and stage in field.metadata["stages"]
    }
