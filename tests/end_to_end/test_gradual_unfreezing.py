"""Whole runs of --unfreeze=RULE@EPOCHS,...: each part is a stage."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    assert_same_arrays,
    assert_same_runs,
    copied_after,
    lines,
    small,
    train,
    weights,
)
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.run import training, use

pytestmark = pytest.mark.usefixtures("tiny")

RULES = ("none", "last:3", "regex:(conv|bn)[2,3]")
EPOCHS = (2, 1, 2)
PARTS = "none@2,last:3@1,regex:(conv|bn)[2,3]@2"
NAMES = ("finetune-1", "finetune-2", "finetune-3")
# Of 12 images in batches of 8, an epoch has two steps.
GRADUAL = {**TINY, "head_epochs": 1, "unfreeze": PARTS}
STEPS = {"feature_extract": 2, NAMES[0]: 6, NAMES[1]: 8, NAMES[2]: 12}
# The variables of each part, besides the head's.
BLOCK_3 = {"conv3", "bn3"}
TRAINED = {
    NAMES[0]: set(),
    NAMES[1]: BLOCK_3,
    NAMES[2]: BLOCK_3 | {"conv2", "bn2"},
}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of 12 images to train on and 6 to test on."""
    return make_photos(tmp_path_factory.mktemp("few"), train=4, test=2)


@pytest.fixture(scope="module")
def gradual(
    tiny: None, few: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """The workdir and result of an undisturbed run in three parts."""
    workdir = tmp_path_factory.mktemp("gradual") / "run"
    # One save ends each epoch: 1 of the head, 2, 1 and 2 of the parts.
    with copied_after(4, workdir.parent / "killed"):
        return workdir, train(few, workdir, **GRADUAL)


def model(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights among the arrays of a checkpoint."""
    return {k: v for k, v in arrays.items() if k.startswith("model/")}


def layers_of(arrays: dict[str, np.ndarray], prefix: str) -> set[str]:
    """Returns the names of the tiny backbone's layers in these arrays."""
    return {
        layer
        for name in arrays
        if name.startswith(prefix)
        for layer in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")
        if layer in name
    }


def changed(workdir: pathlib.Path, before: str, after: str) -> set[str]:
    """Returns the layers that differ between the ends of two stages."""
    one, two = (model(weights(workdir, name)) for name in (before, after))
    return layers_of(
        {k: v for k, v in one.items() if not np.array_equal(v, two[k])},
        "model/",
    )


@pytest.mark.slow
def test_each_part_trains_its_own_layers(gradual):
    workdir, result = gradual
    stages = ("feature_extract", *NAMES)
    for before, name in zip(stages, NAMES, strict=False):
        assert changed(workdir, before, name) == TRAINED[name]
        # A fresh optimizer on the variables of this part alone.
        assert layers_of(weights(workdir, name), "slots/") == TRAINED[name]
    rows = lines(workdir, "metrics.jsonl")
    found: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        if (row["span"], row["split"]) == ("epoch", "train"):
            steps = found.setdefault(row["stage"], [])
            steps.append((row["epoch"], row["step"]))
    # Epochs count from 1 in each part; steps over the whole run.
    assert found == {
        "feature_extract": [(1, 2)],
        NAMES[0]: [(1, 4), (2, 6)],
        NAMES[1]: [(1, 8)],
        NAMES[2]: [(1, 10), (2, 12)],
    }
    everything = (*result["earlier_stages"], result)
    assert {row["stage"]: row["steps"] for row in everything} == STEPS
    rules = [row.get("unfreeze") for row in everything]
    assert rules == [None, *RULES]
    for name in NAMES:
        marker = json.loads(
            (workdir / "checkpoints" / name / "result.json").read_text()
        )
        assert marker["audit"]["frozen_unchanged"]
        assert marker["audit"]["trainable_changed"]


@pytest.mark.slow
def test_parts_equal_a_chain_of_warm_starts(few, gradual, tmp_path):
    """Each run of the chain has one rule, and starts from the run before."""
    workdir, result = gradual
    head = tmp_path / "feature_extract"
    train(few, head, **{**TINY, "stage": "feature_extract", "epochs": 1})
    before = head
    for name, rule, epochs in zip(NAMES, RULES, EPOCHS, strict=True):
        own = tmp_path / name
        values = {"unfreeze": rule, "epochs": epochs, "init_from": str(before)}
        alone = train(few, own, **{**TINY, **values})
        assert_same_arrays(weights(own, "finetune"), weights(workdir, name))
        before = own
    assert alone["test_confusion"] == result["test_confusion"]
    assert alone["test_loss"] == result["test_loss"]


@pytest.mark.slow
def test_a_run_killed_after_a_part_resumes(few, gradual):
    workdir = gradual[0].parent / "killed"
    done = len(lines(workdir, "events.jsonl"))
    assert_same_runs((workdir, train(few, workdir, **GRADUAL)), gradual)
    # The parts that were complete are not trained again.
    began = [
        line["stage"]
        for line in lines(workdir, "events.jsonl")[done:]
        if line["event"] == "begin"
    ]
    assert began == [NAMES[2]]


@pytest.mark.slow
def test_the_same_command_after_the_end_prints_the_results(
    few, gradual, capsys
):
    workdir, result = gradual
    before = (workdir / "events.jsonl").read_bytes()
    assert train(few, workdir, **GRADUAL) == result
    said = capsys.readouterr().out
    assert "this run is complete; its results:" in said
    for name, steps in STEPS.items():
        assert f"{name:18}{steps:>8}" in said
    assert (workdir / "events.jsonl").read_bytes() == before


@pytest.mark.slow
def test_another_value_is_refused_in_the_same_workdir(few, gradual):
    workdir, _ = gradual
    longer = PARTS.replace("none@2", "none@3")
    with pytest.raises(TrainerError) as error:
        train(few, workdir, **{**GRADUAL, "unfreeze": longer})
    assert f"--unfreeze was {PARTS!r}, is {longer!r}" in str(error.value)
    assert "epochs" not in str(error.value)


@pytest.mark.slow
def test_evaluate_reads_the_last_part(gradual, capsys):
    workdir, result = gradual
    given = frozenset({"stage", "workdir"})
    use.evaluate(Config(stage="evaluate", workdir=str(workdir)), given)
    said = capsys.readouterr().out
    assert "finetune-3" in said
    assert f"accuracy {result['test_accuracy']:.4f}" in said
    assert "predictions: " in said


@pytest.mark.slow
def test_one_part_is_bit_identical_to_its_rule_and_epochs(few, tmp_path):
    one = {**TINY, "head_epochs": 0, "unfreeze": "last:3@2"}
    two = {**TINY, "head_epochs": 0, "unfreeze": "last:3", "epochs": 2}
    runs = [
        (tmp_path / name, train(few, tmp_path / name, **values))
        for name, values in (("one", one), ("two", two))
    ]
    assert_same_runs(*runs)
    stored = [json.loads((w / "config.json").read_text()) for w, _ in runs]
    for record in stored:
        record["config"].pop("workdir")
        record.pop("trunks")
    assert stored[0]["config"] == stored[1]["config"]
    assert stored[0]["runs"] == stored[1]["runs"]
    # Either command resumes the other's run.
    assert train(few, runs[0][0], **two) == runs[0][1]


@pytest.mark.slow
def test_the_last_part_may_get_more_epochs(few, gradual, tmp_path):
    """A run that is extended equals a run that had these epochs at once."""
    workdir = tmp_path / "run"
    shorter = PARTS.replace("3]@2", "3]@1")
    train(few, workdir, **{**GRADUAL, "unfreeze": shorter})
    _, whole = gradual
    result = train(few, workdir, **GRADUAL)
    for name in ("test_loss", "test_confusion", "steps", "best_step"):
        assert result[name] == whole[name]
    for name in NAMES:
        assert_same_arrays(weights(workdir, name), weights(gradual[0], name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"unfreeze": "none@1,last:11@1"},
            "--unfreeze='last:11' (part 2): the backbone has 10 layers; give"
            " last:1 to last:10, or all",
            id="a rule that matches nothing",
        ),
        pytest.param(
            {"unfreeze": "all@1,last:1@1"},
            "--unfreeze='last:1' (part 2): none of its 1 layers (relu3) has a"
            " variable to train; choose more, or none to train the head only",
            id="a rule that trains nothing",
        ),
        pytest.param(
            {"unfreeze": "none@3,all@1", "warmup": 2, "head_epochs": 2},
            "--warmup=2: 2 steps, but finetune-2 has 2; give fewer steps or a"
            " fraction such as 0.05, or more epochs",
            id="a warm-up that is too long for the last part",
        ),
    ],
)
@pytest.mark.parametrize("run", [training.train, training.dry_run])
def test_a_later_part_is_refused_before_the_first(
    few, tmp_path, values, message, run
):
    workdir = tmp_path / "run"
    config = Config(**small(few, workdir, **{**GRADUAL, **values}))
    with pytest.raises(UsageError) as error:
        run(config)
    assert str(error.value) == message
    assert not (workdir / "checkpoints").exists()


def test_min_steps_applies_to_each_part(few, tmp_path, capsys):
    values = {**GRADUAL, "min_steps": 3, "unfreeze": "none@1,all@5"}
    training.dry_run(Config(**small(few, tmp_path / "run", **values)))
    said = capsys.readouterr().out
    for name, epochs in (("finetune-1", 2), ("finetune-2", 5)):
        plan = said.partition(f"stage {name}: ")[2]
        assert f"  {epochs} epochs of 2 steps of 8 =" in plan.splitlines()[2]
