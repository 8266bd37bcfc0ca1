"""Flags that a recipe does not set, and flags that a run rejects as unread."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config import Config, checked
from trainer.config.fields import FIELDS
from trainer.config.given import warm_start_warnings
from trainer.errors import UsageError


def config(**given: Any) -> Config:
    """Returns the configuration of a command with these flags."""
    values = {name: field.default for name, field in FIELDS.items()}
    given = {"dataset": "photos", "stage": "finetune", **given}
    return checked({**values, **given}, frozenset(given))


def test_best_with_adam_sets_no_weight_decay() -> None:
    best = config(recipe="best", optimizer="adam")
    assert (best.weight_decay, best.schedule) == (0.0, "cosine")
    for optimizer in ("adamw", "sgd", "lamb"):
        other = config(recipe="best", optimizer=optimizer)
        assert other.weight_decay == 0.01
    with pytest.raises(UsageError, match=r"^--weight_decay=0.02: not read"):
        config(recipe="best", optimizer="adam", weight_decay=0.02)


@pytest.mark.parametrize("stage", ["finetune", "lr_find"])
def test_best_from_another_run_solves_no_head(stage: str) -> None:
    best = config(stage=stage, recipe="best", init_from="runs/a")
    assert (best.head_solver, best.optimizer) == ("adam", "adamw")
    assert config(stage=stage, recipe="best").head_solver == "lbfgs"
    with pytest.raises(UsageError, match="not read with --init_from"):
        config(stage=stage, init_from="runs/a", head_solver="lbfgs")


def test_the_strength_of_no_solved_head_is_refused() -> None:
    """The error does not advise --head_solver, which --init_from excludes."""
    with pytest.raises(UsageError) as error:
        config(recipe="best", init_from="runs/a", head_l2="0.1")
    assert str(error.value) == (
        "--head_l2=0.1: not read with --init_from, whose head finetune starts"
        " from; leave one of them out"
    )
    assert config(recipe="best", head_l2="0.1").head_l2 == "0.1"


def test_a_head_alone_from_another_run_is_solved() -> None:
    stage = "feature_extract"
    best = config(stage=stage, recipe="best", init_from="runs/a")
    assert best.head_solver == "lbfgs"


@pytest.mark.parametrize("stage", ["finetune", "lr_find", "search"])
@pytest.mark.parametrize("name", ["layer_decay", "backbone_lr_scale"])
def test_rates_of_a_frozen_backbone_are_refused(stage: str, name: str) -> None:
    flags = {"stage": stage, name: 0.5}
    if stage == "search":
        flags |= {"budget": 5.0}
    with pytest.raises(UsageError) as error:
        config(unfreeze="none", **flags)
    assert str(error.value) == (
        f"--{name}=0.5: not read with --unfreeze=none, which trains no"
        " backbone; leave one of them out"
    )
    assert getattr(config(unfreeze="last:1", **flags), name) == 0.5


def test_rates_are_read_if_one_part_trains_the_backbone() -> None:
    config(unfreeze="none@1,all@1", layer_decay=0.5)
    with pytest.raises(UsageError, match="--unfreeze=none@1,none@2, which"):
        config(unfreeze="none@1,none@2", layer_decay=0.5)


def test_a_rate_of_no_head_is_refused() -> None:
    config(head_epochs=1, head_learning_rate=0.01)
    with pytest.raises(UsageError) as error:
        config(head_epochs=0, head_learning_rate=0.01)
    assert str(error.value) == (
        "--head_learning_rate=0.01: not read with --head_epochs=0, which"
        " trains no head; leave one of them out"
    )


def test_flags_of_the_head_get_a_warning_with_init_from() -> None:
    given = {"head_epochs": 3, "head_learning_rate": 0.01, "init_from": "a"}
    assert warm_start_warnings(config(**given), frozenset(given)) == [
        "warning: --head_epochs=3: not read with --init_from, whose head the"
        " run starts from",
        "warning: --head_learning_rate=0.01: not read with --init_from, whose"
        " head the run starts from",
    ]
    assert not warm_start_warnings(config(**given), frozenset({"init_from"}))
    del given["init_from"]
    assert not warm_start_warnings(config(**given), frozenset(given))
    zero = {"head_epochs": 0, "init_from": "a"}
    assert not warm_start_warnings(config(**zero), frozenset(zero))
