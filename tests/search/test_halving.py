"""Which trials run, in which order, and what is recommended."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.search.fake import FREE_DEPTH, Trainer
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results.statistics import wilson_interval
from trainer.search import halving

# Minutes of the first rung and of one bracket, if each epoch takes a minute:
# 8 for the recipe, 1 for each head; 6 * 2, 2 * 4 and 8.
FIRST, BRACKET = 10, 28


def by_epochs(config: Config) -> float:
    """A minute per epoch; a solved head has one."""
    return 60.0 * (config.epochs if config.stage == "finetune" else 1)


def rates(trainer: Trainer) -> list[float]:
    """Returns the learning rates of one bracket, in the order of draws."""
    jobs = trainer.plan().halving.drawn()
    return [job.flags["learning_rate"] for job in jobs]


def favour(trainer: Trainer, *places: int) -> list[float]:
    """Makes the trials at these places of the first bracket the best.

    Returns:
      The learning rates of the bracket.
    """
    drawn = rates(trainer)
    best = [drawn[place] for place in places]

    def accuracy(config: Config) -> float:
        if config.learning_rate in best:
            return 0.9 - 0.01 * best.index(config.learning_rate)
        return 0.5

    trainer.accuracy = accuracy
    return drawn


def test_a_bracket_halves_from_six_to_one(trainer: Trainer) -> None:
    trainer.seconds = by_epochs
    drawn = favour(trainer, 4, 1)
    trainer.search(budget=float(FIRST + BRACKET))
    assert trainer.names() == [
        "finetune 8 None",
        # A solved head reads no --epochs.
        *("feature_extract 5 None", "feature_extract 5 None"),
        *(f"finetune 2 {rate}" for rate in drawn),
        *(f"finetune 4 {drawn[place]}" for place in (4, 1)),
        f"finetune 8 {drawn[4]}",
    ]
    assert trainer.limits[:3] == [None] * 3
    assert trainer.limits[3] == BRACKET * 60


def test_the_short_runs_have_a_part_of_the_steps(trainer: Trainer) -> None:
    plan = trainer.plan(recipe="best", warmup=5.0, min_steps=30, epochs=2,
                        optimizer="adamw")  # fmt: skip
    config = plan.halving.drawn()[0].config()
    assert (config.epochs, config.min_steps, config.warmup) == (1, 8, 2.0)


def test_one_epoch_makes_all_rungs_one_run(trainer: Trainer) -> None:
    """A quarter of an epoch is a whole one, which is not trained again."""
    trainer.seconds = lambda config: 60.0
    trainer.search(epochs=1, budget=9.0)
    assert len(trainer.runs) == 3 + 6
    assert {run.epochs for run in trainer.runs[3:]} == {1}


def test_ties_go_to_the_lower_loss(
    trainer: Trainer,
) -> None:
    trainer.seconds = by_epochs
    drawn = rates(trainer)
    trainer.loss = lambda config: {drawn[5]: 0.1, drawn[3]: 0.2}.get(
        config.learning_rate or 0, 0.5
    )
    trainer.search(budget=float(FIRST + BRACKET))
    assert trainer.names()[-3:] == [
        *(f"finetune 4 {drawn[5]}", f"finetune 4 {drawn[3]}"),
        f"finetune 8 {drawn[5]}",
    ]


def test_equal_trials_are_taken_in_the_order_of_draws(
    trainer: Trainer,
) -> None:
    trainer.seconds = by_epochs
    drawn = rates(trainer)
    trainer.search(budget=float(FIRST + BRACKET))
    assert trainer.names()[-3:] == [
        *(f"finetune 4 {drawn[0]}", f"finetune 4 {drawn[1]}"),
        f"finetune 8 {drawn[0]}",
    ]


def test_a_failed_trial_is_a_row_and_is_not_run_again(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.seconds = by_epochs
    drawn = rates(trainer)
    trainer.accuracy = lambda config: (
        -1.0 if config.learning_rate == drawn[0] else 0.5
    )
    stored = trainer.search(budget=float(FIRST + BRACKET))
    states = [row["state"] for row in stored["rows"]]
    assert states.count("failed") == 1
    assert "1: failed: the loss is not finite" in capsys.readouterr().out
    count = len(trainer.runs)
    trainer.search(budget=float(FIRST + BRACKET))
    assert len(trainer.runs) == count


def test_the_recipe_itself_must_not_fail(trainer: Trainer) -> None:
    trainer.accuracy = lambda config: -1.0
    for count in (1, 2):
        with pytest.raises(TrainerError, match="not finite"):
            trainer.search()
        assert len(trainer.runs) == count
    # A head may fail.
    trainer.accuracy = lambda config: (
        -1.0 if config.stage == "feature_extract" else 0.5
    )
    stored = trainer.search(budget=1.0)
    states = [row["state"] for row in stored["rows"]]
    assert states == ["done", "failed", "failed"]


def test_a_search_ends_after_its_last_bracket(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "MAX_BRACKETS", 2)
    trainer.seconds = lambda config: 1.0
    stored = trainer.search(budget=1e6)
    assert len(trainer.runs) == 3 + 2 * (6 + 2 + 1)
    assert stored["cut_by_budget"] == []


def test_a_small_space_is_drawn_once(trainer: Trainer) -> None:
    """Two depths and two smoothings, without the recipe's, are three trials."""
    trainer.seconds = lambda config: 1.0
    values: dict[str, Any] = {"learning_rate": 1e-4, "augment": "mild"}
    trainer.search(FREE_DEPTH, **values)
    short = [run for run in trainer.runs if run.epochs == 2]
    assert sorted((run.unfreeze, run.label_smoothing) for run in short) == [
        ("all", 0.0),
        ("all", 0.1),
        ("last:10", 0.1),
    ]


# The recipe classifies 80 of 100 correctly. Wilson's interval ends at 0.8666.
@pytest.mark.parametrize(
    ("best", "recommended", "words"),
    [
        (0.79, "default", "none of the other 3 is more accurate"),
        (0.80, "default", "none of the other 3 is more accurate"),
        (0.86, "default", "so the difference may be chance"),
        (0.87, "trial", "is above the 95 % interval of the unchanged recipe"),
    ],
)
def test_a_trial_must_be_above_the_interval_of_the_recipe(
    trainer: Trainer,
    capsys: pytest.CaptureFixture[str],
    best: float,
    recommended: str,
    words: str,
) -> None:
    assert math.isclose(wilson_interval(0.8, 100)[1], 0.8666, abs_tol=1e-4)
    trainer.seconds = by_epochs
    drawn = rates(trainer)

    def accuracy(config: Config) -> float:
        if config.stage == "feature_extract":
            return 0.7
        return best if config.learning_rate in drawn else 0.8

    trainer.accuracy = accuracy
    # With the same loss, too, a tie goes to the unchanged recipe.
    stored = trainer.search(budget=float(FIRST + BRACKET))
    said = capsys.readouterr().out
    assert words in " ".join(said.split())
    last = said.splitlines()[-1]
    assert last == f"  {stored['command']}"
    assert ("--learning_rate" in last) == (recommended == "trial")
    assert stored["better_than_default"] == (recommended == "trial")
