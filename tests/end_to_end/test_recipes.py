"""Runs with the optimizers, schedules and averages of a recipe."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.command import command
from tests.support.runs import (
    FINISHED,
    TINY,
    assert_same_arrays,
    assert_same_runs,
    lines,
    small,
    stopped_after,
    train,
    weights,
)
from trainer.config import Config
from trainer.config.recipes import BEFORE_RENDERING
from trainer.errors import TrainerError, UsageError
from trainer.run import training

pytestmark = pytest.mark.usefixtures("tiny")
HEAD = "feature_extract"
RECIPE = {
    **FINISHED,
    "stage": "finetune",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0.2,
    "min_steps": 7,
    "layer_decay": 0.8,
    "backbone_lr_scale": 0.5,
    "label_smoothing": 0.1,
    "ema": 0.9,
}


@pytest.fixture(scope="module")
def straight(photos, tmp_path_factory):
    """Returns the workdir and the result of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("recipe") / "straight"
    return workdir, train(photos, workdir, **RECIPE)


@pytest.mark.slow
def test_min_steps_raises_the_epochs_of_both_stages(straight):
    workdir, result = straight
    # Three steps an epoch: three epochs for seven steps.
    assert result["epochs"] == result["earlier_stages"][0]["epochs"] == 3
    assert result["steps"] == 18
    rates = [
        line["learning_rate"]
        for line in lines(workdir, "metrics.jsonl")
        if "learning_rate" in line and line["stage"] == "finetune"
    ]
    # Steps 3, 6 and 9 of 9, of which 2 are warm-up.
    expected = [1e-4 * (1 + np.cos(np.pi * part / 7)) / 2 for part in (0, 3, 6)]
    np.testing.assert_allclose(rates, expected)


@pytest.mark.slow
def test_a_stopped_recipe_resumes_bit_identically(photos, straight, tmp_path):
    again = tmp_path / "again"
    values = {**RECIPE, "checkpoint_every_steps": 2}
    with stopped_after(9):
        train(photos, again, **values)
    resumed = train(photos, again, **values)
    assert_same_runs((again, resumed), straight)
    one, two = (weights(path, "finetune") for path in (again, straight[0]))
    averaged = [key for key in one if key.startswith("weights/")]
    assert averaged
    for key in averaged:
        np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.slow
def test_a_checkpoint_holds_the_averages_as_its_model(straight):
    workdir, result = straight
    said = command("--stage=evaluate", f"--workdir={workdir}")
    assert said.status == 0, said.err
    assert f"{result['test_accuracy']:.4f}" in said.out
    stored = weights(workdir, "finetune")
    name = "head.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert np.any(stored[f"model/{name}"] != stored[f"weights/{name}"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"warmup": 12.0, "min_steps": 0}, "--warmup=12: 12 steps, but"),
        ({"optimizer": "adam"}, "--weight_decay=0.01: not read with"),
        ({"momentum": 0.5}, "--momentum=0.5: read only with --optimizer=sgd"),
        ({"layer_decay": 1.5}, "--layer_decay=1.5: must be a number above 0"),
        ({"recipe": "fast"}, "not one of tutorial, quick, best"),
    ],
)
def test_bad_values_are_refused(photos, tmp_path, values, said):
    fields = small(photos, tmp_path / "run", **{**RECIPE, **values})
    with pytest.raises(UsageError) as error:
        training.train(Config(**fields))
    assert said in str(error.value)


@pytest.mark.slow
def test_more_epochs_of_a_schedule_are_refused(photos, straight):
    workdir, _ = straight
    with pytest.raises(TrainerError) as error:
        train(photos, workdir, **{**RECIPE, "epochs": 5})
    assert "was 2, is 5, and the learning rates depend on it" in str(
        error.value
    )


@pytest.mark.slow
def test_few_photos_are_not_validated_in_each_epoch(photos, tmp_path):
    """The weights are those of a run that validates in each epoch."""
    values = {**TINY, "stage": HEAD, "ema": 0.5, "augment": False}
    often = tmp_path / "often"
    train(photos, often, **{**values, "epochs": 20})
    # 20 epochs of three steps: at most ten validations.
    apart = tmp_path / "apart"
    values |= {"min_steps": 58, "epochs": 1, "log_every_steps": 5}
    result = train(photos, apart, **values)
    assert (result["epochs"], result["steps"]) == (20, 60)
    assert_same_arrays(weights(apart, HEAD), weights(often, HEAD))
    ends, steps = (
        [
            (line["epoch"], line["step"])
            for line in lines(apart, "metrics.jsonl")
            if (line["split"], line["span"]) == kind
        ]
        for kind in (("validation", "epoch"), ("train", "steps"))
    )
    assert ends == [(2 * i, 6 * i) for i in range(1, 11)]
    assert steps == [(-(-5 * i // 3), 5 * i) for i in range(1, 13)]
    # Stopped within two epochs.
    again = tmp_path / "again"
    values |= {"checkpoint_every_steps": 4, "steps_per_loop": 4}
    with stopped_after(4):
        train(photos, again, **values)
    assert_same_runs((again, train(photos, again, **values)), (apart, result))


@pytest.mark.slow
def test_a_recipe_is_stored_as_its_flags(photos, tmp_path):
    workdir = tmp_path / "run"
    flags = small(photos, workdir, **FINISHED, stage="finetune")
    flags |= {"recipe": "best", "epochs": 1, "min_steps": 0, "ema": 0.5}
    # Their graphs take most of the time.
    flags |= {"augment": False, **BEFORE_RENDERING}
    del flags["unfreeze"], flags["head_epochs"]
    said = command(*[f"--{name}={value}" for name, value in flags.items()])
    assert said.status == 0, said.err
    stored = json.loads((workdir / "config.json").read_text())["config"]
    assert stored["optimizer"] == "adamw"
    assert stored["head_solver"] == "lbfgs"
    assert stored["unfreeze"] == "all"
    # Given flags override the recipe.
    assert (stored["min_steps"], stored["ema"]) == (0, 0.5)
    (line,) = [x for x in said.out.splitlines() if x.startswith("--recipe")]
    assert "--optimizer=adamw" in line
    assert "--ema" not in line


def test_quick_is_for_the_head_only(photos, tmp_path):
    said = command("--stage=finetune", "--recipe=quick", f"--dataset={photos}")
    assert said.status == 2
    assert said.err.startswith("error: --recipe=quick: trains the head only")
