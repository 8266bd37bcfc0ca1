"""The rungs of `benchmarks.ladder`, and its table."""

from __future__ import annotations

import numpy as np
import pytest
from absl import flags as absl_flags

from benchmarks.ladder import RUNGS, gain, table
from trainer.command import flags
from trainer.config.recipes import RECIPES


@pytest.mark.parametrize("rung", RUNGS)
def test_each_rung_has_legal_flags(rung: str) -> None:
    values = absl_flags.FlagValues()
    flags.define(values)
    flags.parse(["main.py", "--dataset=photos", *RUNGS[rung]], values)
    config, _ = flags.config_from_flags(values)
    assert f"--stage={config.stage}" in RUNGS[rung]


def test_the_last_rung_sets_what_the_recipe_sets() -> None:
    given = dict(
        flag.strip("-").split("=")
        for flag in RUNGS["best: dropout 0.2, mirror images"]
    )
    assert given.pop("stage") == "finetune"
    assert {
        name: type(RECIPES["best"][name])(text) for name, text in given.items()
    } == RECIPES["best"]


def test_gain_is_the_mean_difference_with_its_interval() -> None:
    first = [np.array([1, 0, 0, 1], bool), np.array([1, 1, 0, 1], bool)]
    second = [np.array([1, 1, 0, 1], bool), np.array([1, 1, 1, 1], bool)]
    mean, low, high = gain(first, second)
    # Per photo: 0, 1/2, 1/2, 0.
    assert mean == 0.25
    # The mean of four draws is at most 1/2, and at least 0.
    assert (low, high) == (0.0, 0.5)
    assert gain(first, first) == (0.0, 0.0, 0.0)
    # Every photo gained: no resample differs.
    nothing, everything = [np.zeros(9, bool)], [np.ones(9, bool)]
    assert gain(nothing, everything) == (1.0, 1.0, 1.0)


def test_the_table_compares_the_seeds_that_both_rungs_have() -> None:
    right, wrong = np.ones(4, bool), np.zeros(4, bool)
    text = table(
        {
            "tutorial": {0: wrong, 1: right},
            "better": {0: right},
            "missing": {},
        },
        {"tutorial": {0: 0.5, 1: 0.6}, "better": {0: 0.75}},
    )
    _, _, *rows = text.splitlines()
    assert rows == [
        "| tutorial | 2 | 55.0 | 50.0 |  |  |",
        "| better | 1 | 75.0 | 100.0 | +100.0 | +100.0 to +100.0 |",
    ]
