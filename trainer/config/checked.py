"""Builds a `Config` from flags, with all checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainer.config.config import Config
from trainer.config.fields import FIELDS
from trainer.config.given import (
    check_embed,
    check_given,
    check_parts,
    check_predict,
    check_read_by_finetune,
    check_search,
    check_solved_head,
    check_validation,
)
from trainer.config.recipes import expand
from trainer.errors import UsageError

_PATHS = (
    "cache_dir",
    "class_weights",
    "dataset",
    "init_from",
    "inputs",
    "output",
    "runs",
    "tfds_data_dir",
    "weights",
    "workdir",
    "write_list",
)


def type_name(name: str) -> str:
    """Returns the type of a flag's values: str, int, float or bool."""
    return str(FIELDS[name].type).removesuffix(" | None")


def checked(values: Mapping[str, Any], given: frozenset[str]) -> Config:
    """Returns the configuration that the flags describe.

    Args:
      values: of every flag, by name.
      given: the names of the flags that were given explicitly. The recipe
        decides about the others.

    Raises:
      UsageError: a value is illegal, or the stage does not read a given flag.
    """
    values = dict(values)
    for name in _PATHS:
        if values[name]:
            values[name] = _without_tilde(name, values[name])
    config = Config(**expand(values, given))
    check_given(config.stage, given)
    check_solved_head(config, given)
    check_validation(config, given)
    check_parts(config, given)
    check_read_by_finetune(config, given)
    check_embed(config, given)
    check_predict(config, given)
    check_search(config)
    return config


def _without_tilde(name: str, path: str) -> str:
    """Expands a leading ~, because shells do not expand --name=~/folder.

    Raises:
      UsageError: the home folder is unknown. The run would otherwise create a
        folder called "~".
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        user = expanded.partition("/")[0]
        raise UsageError(
            f"--{name}={path!r}: no home folder is known for {user}; give the"
            f" whole path, or ./{path} for a file or folder of that name"
        )
    return expanded
