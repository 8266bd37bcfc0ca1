"""The command of a report gives the same run when it is parsed again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from absl import flags as absl_flags

import flags
from trainer.config import Config
from trainer.run.repeat import flags_of, repeat_command
from trainer.run.resolve import resolve

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "quick": {"stage": "feature_extract", "recipe": "quick"},
    "best": {"recipe": "best"},
    "best, but": {"recipe": "best", "epochs": 3, "tta": "off", "ema": 0.0},
    "best, from another run": {"recipe": "best", "init_from": "runs/a"},
    "best with adam": {"recipe": "best", "optimizer": "adam"},
    "best head": {"stage": "feature_extract", "recipe": "best"},
    "views": {"head_solver": "lbfgs", "head_views": 3, "augment": "mild"},
    "parts": {"unfreeze": "last:3@2,all@3"},
    "hostile": {"dataset": "$(rm) 'a\" b", "tfds_data_dir": "x y"},
    "bool": {"scale_lr": True, "fold_batch_norm": False, "seed": 7},
    "free": {"cache": "off", "keep_checkpoints": 9, "logical_cpus": 2},
}


def parsed(words: list[str]) -> Config:
    """Returns the resolved configuration of a command line."""
    values = absl_flags.FlagValues()
    flags.define(values)
    flags.parse(["main.py", *words], values)
    config, _ = flags.config_from_flags(values)
    return resolve(config, 64)


@pytest.mark.parametrize("name", CASES)
def test_the_command_gives_the_same_run(name: str) -> None:
    given = {"stage": "finetune", "dataset": "photos", **CASES[name]}
    first = parsed([f"--{k}={v}" for k, v in given.items()])
    words = shlex.split(repeat_command(first))
    assert words[:2] == ["python", "main.py"]
    again = parsed(words[2:])
    assert again.result_fields() == first.result_fields()
    assert again.recipe == first.recipe
    assert again.logical_cpus == first.logical_cpus
    # What does not affect results is left out.
    assert again.cache == "auto"
    assert not any(word.startswith("--workdir") for word in words)


def test_flags_of_a_stage_are_those_that_it_reads() -> None:
    stored = {"stage": "feature_extract", "epochs": 3, "unfreeze": "all"}
    assert flags_of(stored) == {"stage": "feature_extract", "epochs": 3}
