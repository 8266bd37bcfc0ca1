"""Tests of drift: which changes of a run are errors, and which are warnings."""

from __future__ import annotations

import json
import pathlib

import pytest

from trainer.config import Config
from trainer.config.fields import FIELDS, FREE, NUMERICS, RESULT
from trainer.distribute import devices, strategies
from trainer.distribute.processes import ALONE
from trainer.errors import TrainerError
from trainer.run import drift
from trainer.run.drift import (
    EFFECTS,
    FACTS,
    backbone_facts,
    changed_numerics,
    check_same_run,
    differences,
    environment,
    run_record,
)
from trainer.run.resolve import resolve
from trainer.workdir import Workdir


def config(stage: str = "finetune", **values) -> Config:
    """Returns the configuration of a resolved run."""
    return resolve(Config(stage=stage, dataset="photos", **values), 32)


def add_runs(path: pathlib.Path, **runs) -> None:
    """Writes config.json with a record for each stage."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"runs": runs}))


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        pytest.param({"seed": 0}, {"seed": 0}, [], id="equal"),
        pytest.param(
            {"seed": 0, "backbone": "VGG16", "augment": True},
            {"seed": 3, "backbone": "VGG19", "augment": True},
            ["--backbone was 'VGG16', is 'VGG19'", "--seed was 0, is 3"],
            id="differences are sorted",
        ),
        pytest.param({"epochs": 2}, {"epochs": 3}, [], id="epochs may grow"),
        pytest.param(
            {"epochs": 3},
            {"epochs": 2},
            ["--epochs was 3, is 2"],
            id="epochs may not shrink",
        ),
        pytest.param(
            {"head_epochs": 2},
            {"head_epochs": 3},
            ["--head_epochs was 2, is 3"],
            id="head_epochs may not grow",
        ),
        pytest.param(
            {"seed": 0},
            {"seed": 0, "brand_new": 1},
            [],
            id="a field that the run lacks",
        ),
        pytest.param(
            {"dataset": "a", "data_fingerprint": "f"},
            {"dataset": "b", "data_fingerprint": "f"},
            [],
            id="the same photos elsewhere",
        ),
        pytest.param(
            {"dataset": "a", "data_fingerprint": "f"},
            {"dataset": "b", "data_fingerprint": None},
            [],
            id="photos not read yet",
        ),
        pytest.param(
            {"dataset": "a", "data_fingerprint": "f"},
            {"dataset": "b", "data_fingerprint": "g"},
            ["--dataset was 'a', is 'b'", "data_fingerprint was 'f', is 'g'"],
            id="other photos elsewhere",
        ),
        pytest.param(
            {"dataset": "a", "data_fingerprint": "f"},
            {"dataset": "a", "data_fingerprint": "g"},
            ["data_fingerprint was 'f', is 'g'"],
            id="other photos in the same place",
        ),
        pytest.param(
            {"weights": "a.h5", "weights_digest": "f"},
            {"weights": "b.h5", "weights_digest": "f"},
            [],
            id="the same weights file elsewhere",
        ),
        pytest.param(
            {"weights": "a.h5", "weights_digest": "f"},
            {"weights": "a.h5", "weights_digest": "g"},
            ["weights_digest was 'f', is 'g'"],
            id="other weights in the same place",
        ),
        pytest.param(
            {"weights": "imagenet", "weights_digest": None},
            {"weights": "a.h5", "weights_digest": "f"},
            ["--weights was 'imagenet', is 'a.h5'"],
            id="from Keras's weights to a file",
        ),
        pytest.param(
            {"weights": "a.h5", "weights_digest": "f"},
            {"weights": "imagenet", "weights_digest": None},
            ["--weights was 'a.h5', is 'imagenet'"],
            id="from a file to Keras's weights",
        ),
        pytest.param(
            {"weights": "imagenet", "weights_digest": None},
            {"weights": "none", "weights_digest": None},
            ["--weights was 'imagenet', is 'none'"],
            id="from Keras's weights to none",
        ),
        pytest.param(
            {"class_names": ["a", "b"]},
            {"class_names": ["a", "c"]},
            ["class_names was ['a', 'b'], is ['a', 'c']"],
            id="other classes",
        ),
        pytest.param(
            {"class_names": None, "pixels": None},
            {"class_names": ["a"], "pixels": "torch"},
            [],
            id="unknown facts",
        ),
        pytest.param(
            {"class_names": [f"class{i}" for i in range(100)]},
            {"class_names": [f"class{i}" for i in range(2, 101)]},
            [
                "class_names was 100 with 'class0', 'class1', is 99 with"
                " 'class100'"
            ],
            id="a long list shows only differences",
        ),
        pytest.param(
            {"unfreeze": "regex:" + 200 * "a"},
            {"unfreeze": "none"},
            [f"--unfreeze was 'regex:{113 * 'a'}..., is 'none'"],
            id="a long text is shortened",
        ),
    ],
)
def test_differences_of_stored_and_given_values(stored, asked, found):
    assert differences(stored, asked) == found


def record(asked: Config, fingerprint: str | None = "f") -> dict:
    """Returns the record of a run for config.json."""
    return run_record(asked, {"data_fingerprint": fingerprint})


def check(path: pathlib.Path, asked: Config, fingerprint: str = "f") -> None:
    check_same_run(Workdir(str(path)), asked, record(asked, fingerprint))


@pytest.mark.parametrize(
    "asked",
    [
        config(),
        config(epochs=6),
        # Flags that do not change the metrics.
        config(log_every_steps=1, keep_checkpoints=9, logical_cpus=2),
    ],
)
def test_the_same_run_may_resume(tmp_path, asked):
    check(tmp_path, asked)
    add_runs(tmp_path, finetune=record(config()))
    check(tmp_path, asked)


def test_a_different_run_is_refused_in_one_line(tmp_path):
    add_runs(tmp_path, finetune=record(config(epochs=4)))
    with pytest.raises(TrainerError) as error:
        check(tmp_path, config(epochs=3, seed=1), "g")
    assert str(error.value) == (
        f"--workdir={str(tmp_path)!r}: was started with another configuration"
        " (--epochs was 4, is 3; --seed was 0, is 1; data_fingerprint was"
        " 'f', is 'g'); repeat that one, or give another --workdir"
        f", to start from its weights with --init_from={tmp_path}"
    )


def test_feature_extract_in_the_workdir_of_a_finetune_is_refused(tmp_path):
    add_runs(tmp_path, finetune=record(config()))
    with pytest.raises(TrainerError) as error:
        check(tmp_path, config("feature_extract"))
    assert str(error.value) == (
        f"--workdir={str(tmp_path)!r}: holds a run of --stage=finetune, which"
        " has its own feature_extract; give another --workdir for"
        " --stage=feature_extract"
    )


@pytest.mark.parametrize(
    ("values", "fingerprint", "found"),
    [
        ({}, "f", None),
        # Flags that may differ between the stages.
        ({"epochs": 1, "learning_rate": 0.5, "augment": False}, "f", None),
        ({"batch_size": 8}, "f", None),
        ({"seed": 1}, "f", "--seed was 0, is 1"),
        ({"data_pct": 1.0}, "f", "--data_pct was 100.0, is 1.0"),
        ({"weights": "none"}, "f", "--weights was 'imagenet', is 'none'"),
        ({"precision": "bfloat16"}, "f", "is 'bfloat16'"),
        ({}, "g", "data_fingerprint was 'f', is 'g'"),
    ],
)
def test_finetune_must_share_flags_with_feature_extract(
    tmp_path, values, fingerprint, found
):
    add_runs(tmp_path, feature_extract=record(config("feature_extract")))
    if found is None:
        check(tmp_path, config(**values), fingerprint)
        return
    with pytest.raises(TrainerError) as error:
        check(tmp_path, config(**values), fingerprint)
    assert found in str(error.value)


def test_a_flag_that_the_run_lacks_counts_as_its_default(tmp_path):
    stored = record(config())
    del stored["augment"], stored["patience"], stored["learning_rate"]
    add_runs(tmp_path, finetune=stored)
    check(tmp_path, config())
    with pytest.raises(
        TrainerError, match="--augment was 'tutorial', is 'off'"
    ):
        check(tmp_path, config(augment=False))
    with pytest.raises(TrainerError, match="--patience was None, is 3"):
        check(tmp_path, config(patience=3))
    # A default that the trainer chooses later is unknown: any value is legal.
    check(tmp_path, config(learning_rate=1.0))


def test_a_changed_backbone_in_the_workdir_is_refused(tmp_path):
    workdir = Workdir(str(tmp_path))
    assert backbone_facts(workdir) == {}
    backbone = {"pixels": "torch", "architecture": "{}"}
    workdir.write_json("backbone.json", backbone)
    facts = backbone_facts(workdir)
    assert facts["pixels"] == "torch"
    begun = run_record(config(), facts)
    add_runs(tmp_path, finetune=begun)
    check_same_run(workdir, config(), begun)
    for change, words in (
        ({"pixels": "caffe"}, "pixels was 'torch', is 'caffe'"),
        ({"architecture": "{1}"}, "architecture_digest was '"),
    ):
        workdir.write_json("backbone.json", backbone | change)
        now = run_record(config(), backbone_facts(workdir))
        with pytest.raises(TrainerError) as error:
            check_same_run(workdir, config(), now)
        assert words in str(error.value)


def test_one_warning_names_all_changes():
    stored = {
        "tensorflow": "2.20.0",
        "replicas": 1,
        "python": "3.10",
        "gone": 1,
        "xla": "off",
    }
    now = {
        "tensorflow": "2.21.0",
        "replicas": 2,
        "python": "3.11",
        "new": 1,
        "xla": "off",
    }
    assert changed_numerics(stored, now) == (
        "since the last start replicas was 1, is 2; tensorflow was '2.20.0',"
        " is '2.21.0': the last bits of the metrics may differ from those of an"
        " uninterrupted run"
    )
    assert changed_numerics(stored, stored | {"python": "3.11"}) is None
    assert changed_numerics({}, now) is None


def test_of_the_facts_about_a_machine_only_python_is_free():
    strategy = strategies.make_strategy("one_device", 8, 1)
    facts = devices.environment(strategy, ALONE)
    for name in facts:
        warned = changed_numerics(facts, {**facts, name: "another"})
        assert (warned is None) is (name == "python"), name


def test_the_table_lists_every_flag_and_fact():
    assert FIELDS.keys() | FACTS.keys() == EFFECTS.keys()
    assert not FIELDS.keys() & FACTS.keys()
    assert set(EFFECTS.values()) == {RESULT, NUMERICS, FREE}
    # The run's record has the facts whose change is an error, the environment
    # has the others, and together they are the facts in the table.
    of_run = run_record(config(), {}).keys() - FIELDS.keys()
    strategy = strategies.make_strategy("one_device", 8, 1)
    of_machine = devices.environment(strategy, ALONE).keys()
    assert {name for name in FACTS if FACTS[name] == RESULT} == of_run
    assert of_run | of_machine == FACTS.keys()
    assert not of_run & of_machine


def test_the_environment_has_every_numerics_flag():
    found = environment(config(xla="on", logical_cpus=2), {"strategy": "x"})
    numerics = {name for name in FIELDS if EFFECTS[name] == NUMERICS}
    assert found.keys() == numerics
    assert (found["xla"], found["logical_cpus"]) == ("on", 2)
    # The resolved value of a flag is stored, not "auto".
    assert found["strategy"] == "x"


def test_flags_that_two_stages_share_affect_results():
    assert {EFFECTS[name] for name in drift._SAME_START} == {RESULT}
