"""Tests of where a run begins, and of --init_from."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support.stage import METRICS
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.learning.start import (
    check_warm_start,
    find_start,
    finished_stage,
    stage_marker,
)
from trainer.run.resolve import resolve
from trainer.workdir import Workdir


def config(stage: str = "finetune", **values) -> Config:
    """A resolved run."""
    return resolve(Config(stage=stage, dataset="photos", **values), 32)


def add_checkpoint(
    path: pathlib.Path, stage: str, step: int, kind: str = "last"
) -> str:
    """The files that TensorFlow looks for; returns the prefix."""
    folder = path / "checkpoints" / stage / kind
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / f"ckpt-{step}"
    # As the last bytes of a whole index, by which it is told.
    (folder / f"{prefix.name}.index").write_bytes(
        bytes.fromhex("57fb808b247547db")
    )
    (folder / f"{prefix.name}.data-00000-of-00001").touch()
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{prefix.name}"\n'
        f'all_model_checkpoint_paths: "{prefix.name}"\n'
    )
    return str(prefix)


def add_runs(path: pathlib.Path, **runs) -> None:
    """config.json, with what each stage's run was asked for."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"runs": runs}))


def complete_feature_extract(path: pathlib.Path) -> str:
    """A finished feature_extract of 30 steps; returns its last checkpoint."""
    add_runs(path, feature_extract={})
    add_checkpoint(path, "feature_extract", 20, "best")
    prefix = add_checkpoint(path, "feature_extract", 30)
    Workdir(str(path)).write_json(
        stage_marker("feature_extract"),
        {**METRICS, "metrics_position": 456},
    )
    return prefix


BOTH = ("feature_extract", "finetune")


@pytest.mark.parametrize(
    ("stage", "runs", "saved", "stages", "why"),
    [
        # (1) before everything else.
        (
            "feature_extract",
            ("feature_extract",),
            {"feature_extract": 7},
            ("feature_extract",),
            "resume feature_extract from step 7",
        ),
        (
            "finetune",
            ("finetune",),
            {"feature_extract": 7},
            BOTH,
            "resume feature_extract from step 7",
        ),
        (
            "finetune",
            ("finetune",),
            {"feature_extract": 9, "finetune": 12},
            ("finetune",),
            "resume finetune from step 12",
        ),
        (
            "finetune",
            ("feature_extract", "finetune"),
            {"feature_extract": 9, "finetune": 12},
            ("finetune",),
            "resume finetune from step 12",
        ),
        # (4) and (5).
        (
            "finetune",
            (),
            {},
            BOTH,
            "start from --weights=imagenet with a fresh head",
        ),
        (
            "finetune",
            ("finetune",),
            {},
            BOTH,
            "start from --weights=imagenet with a fresh head",
        ),
        (
            "feature_extract",
            (),
            {},
            ("feature_extract",),
            "start from --weights=imagenet with a fresh head",
        ),
    ],
)
def test_where_a_run_starts(tmp_path, stage, runs, saved, stages, why):
    if runs:
        add_runs(tmp_path, **{name: {} for name in runs})
    for name, step in saved.items():
        add_checkpoint(tmp_path, name, step)
    start = find_start(Workdir(str(tmp_path)), config(stage))
    assert tuple(spec.stage for spec in start.stages) == stages
    assert start.why == why
    assert start.checkpoint is None
    assert start.start_step == 0
    # A new run keeps no metrics; a checkpoint stores its own position.
    assert start.fresh == (not saved)
    assert start.metrics_position == (None if saved else 0)


@pytest.mark.parametrize("kind", ["last", "best"])
def test_finetune_starts_from_the_feature_extract_in_workdir(tmp_path, kind):
    prefix = complete_feature_extract(tmp_path)
    if kind == "best":
        prefix = str(tmp_path / "checkpoints/feature_extract/best/ckpt-20")
    # Before (3): it would lead elsewhere.
    other = tmp_path / "other"
    add_checkpoint(other, "feature_extract", 5)
    asked = config(init_from_checkpoint=kind, init_from=str(other))
    start = find_start(Workdir(str(tmp_path)), asked)
    assert [spec.stage for spec in start.stages] == ["finetune"]
    assert start.checkpoint == prefix
    # Steps are counted from the last epoch, also with the best weights.
    assert (start.start_step, start.metrics_position) == (30, 456)
    assert start.fresh is False
    assert start.why == (
        f"finetune from {kind} weights of the feature_extract in the workdir"
    )


PARTS = "none@1,last:2@2,all@3"
IN_PARTS = ("finetune-1", "finetune-2", "finetune-3")


@pytest.mark.parametrize(
    ("runs", "saved", "stages", "why"),
    [
        (
            ("finetune",),
            {"feature_extract": 7},
            ("feature_extract", *IN_PARTS),
            "resume feature_extract from step 7",
        ),
        (
            ("finetune",),
            {"feature_extract": 7, "finetune-1": 9, "finetune-2": 11},
            IN_PARTS[1:],
            "resume finetune-2 from step 11",
        ),
        (
            ("feature_extract", "finetune"),
            {"feature_extract": 7, "finetune-1": 9},
            IN_PARTS,
            "resume finetune-1 from step 9",
        ),
    ],
)
def test_a_run_resumes_its_latest_part(tmp_path, runs, saved, stages, why):
    add_runs(tmp_path, **{name: {} for name in runs})
    for name, step in saved.items():
        add_checkpoint(tmp_path, name, step)
    start = find_start(Workdir(str(tmp_path)), config(unfreeze=PARTS))
    assert tuple(spec.stage for spec in start.stages) == stages
    assert start.why == why


def test_all_parts_follow_a_complete_feature_extract(tmp_path):
    prefix = complete_feature_extract(tmp_path)
    start = find_start(Workdir(str(tmp_path)), config(unfreeze=PARTS))
    assert tuple(spec.stage for spec in start.stages) == IN_PARTS
    assert (start.checkpoint, start.start_step) == (prefix, 30)


def test_a_warm_start_takes_the_latest_part(tmp_path):
    source = tmp_path / "source"
    for number, name in enumerate(("feature_extract", *IN_PARTS[:2]), 1):
        add_checkpoint(source, name, number)
    # Ten is later than two; other folders are no parts.
    latest = add_checkpoint(source, "finetune-10", 4)
    for name in ("finetune-011", "finetune-x", "other"):
        add_checkpoint(source, name, 9)
    asked = config(unfreeze=PARTS, init_from=str(source))
    start = find_start(Workdir(str(tmp_path / "run")), asked)
    assert tuple(spec.stage for spec in start.stages) == IN_PARTS
    assert start.checkpoint == latest
    assert start.why == f"warm start from finetune-10 of {source}"


def test_a_run_is_complete_when_its_last_part_is(tmp_path):
    workdir, asked = Workdir(str(tmp_path)), config(unfreeze=PARTS)
    for name in IN_PARTS:
        assert finished_stage(workdir, asked) is None
        marker = {**METRICS, "stage": name, "epochs": 3}
        workdir.write_json(stage_marker(name), marker)
        workdir.write_json("result.json", marker)
    assert finished_stage(workdir, asked)["stage"] == "finetune-3"
    longer = config(unfreeze="none@1,last:2@2,all@4")
    assert finished_stage(workdir, longer) is None


def test_more_epochs_of_a_head_that_parts_started_from(tmp_path):
    complete_feature_extract(tmp_path)
    epochs = METRICS["epochs"] + 1
    asked = config("feature_extract", epochs=epochs)
    workdir = Workdir(str(tmp_path))
    assert finished_stage(workdir, asked) is None
    add_checkpoint(tmp_path, "finetune-2", 40)
    with pytest.raises(TrainerError, match="finetune there has started"):
        finished_stage(workdir, asked)


def test_finetune_refuses_an_incomplete_feature_extract(tmp_path):
    add_runs(tmp_path, feature_extract={})
    add_checkpoint(tmp_path, "feature_extract", 7)
    with pytest.raises(TrainerError) as error:
        find_start(Workdir(str(tmp_path)), config())
    assert str(error.value) == (
        f"--workdir={str(tmp_path)!r}: its feature_extract is not complete;"
        " finish it with the --stage=feature_extract command that began it,"
        " or give another --workdir"
    )


@pytest.mark.parametrize(
    ("stage", "kind", "saved", "found"),
    [
        ("feature_extract", "last", ("feature_extract",), "feature_extract"),
        ("finetune", "last", ("feature_extract",), "feature_extract"),
        # The latest stage is continued.
        ("finetune", "last", BOTH, "finetune"),
        ("finetune", "best", BOTH, "finetune"),
    ],
)
def test_a_warm_start_begins_at_the_source_checkpoint(
    tmp_path, stage, kind, saved, found
):
    source = tmp_path / "source"
    for name in saved:
        for where in ("last", "best"):
            add_checkpoint(source, name, 5, where)
    asked = config(stage, init_from=str(source), init_from_checkpoint=kind)
    start = find_start(Workdir(str(tmp_path / "run")), asked)
    assert [spec.stage for spec in start.stages] == [stage]
    assert start.checkpoint == str(
        source / "checkpoints" / found / kind / "ckpt-5"
    )
    assert (start.start_step, start.metrics_position) == (0, 0)
    assert start.fresh is False
    assert start.why == f"warm start from {found} of {source}"


def test_an_interrupted_warm_start_is_resumed(tmp_path):
    add_checkpoint(tmp_path / "source", "feature_extract", 5)
    add_runs(tmp_path / "run", finetune={})
    add_checkpoint(tmp_path / "run", "finetune", 3)
    asked = config(init_from=str(tmp_path / "source"))
    start = find_start(Workdir(str(tmp_path / "run")), asked)
    assert start.why == "resume finetune from step 3"
    assert [spec.stage for spec in start.stages] == ["finetune"]


def test_a_warm_start_needs_a_checkpoint(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(UsageError, match=r"--init_from=.* no such folder"):
        find_start(
            Workdir(str(tmp_path / "run")), config(init_from=str(missing))
        )
    missing.mkdir()
    with pytest.raises(TrainerError, match=r"--init_from=.*no checkpoint;"):
        find_start(
            Workdir(str(tmp_path / "run")), config(init_from=str(missing))
        )


def test_finetune_without_head_epochs_has_one_stage(tmp_path):
    start = find_start(Workdir(str(tmp_path)), config(head_epochs=0))
    assert [spec.stage for spec in start.stages] == ["finetune"]
    assert start.fresh is True


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ({}, ("a", "b"), None),
        (
            {"backbone": "VGG16"},
            ("a", "b"),
            "its --backbone is 'MobileNetV2', this run's is 'VGG16'; give the"
            " same",
        ),
        (
            {"backbone_args": ""},
            ("a", "b"),
            "its --backbone_args is 'alpha=0.35', this run's is ''; give the"
            " same",
        ),
        (
            {},
            ("b", "a"),
            "its classes are ['a', 'b'], this run's are ['b', 'a']; to take"
            " its backbone only, give one of its checkpoints as --weights",
        ),
    ],
)
def test_a_warm_start_of_another_model_is_refused(
    tmp_path, values, classes, message
):
    own = {"backbone": "MobileNetV2", "backbone_args": "alpha=0.35"}
    add_checkpoint(tmp_path, "finetune", 5)
    (tmp_path / "config.json").write_text(json.dumps({"config": own}))
    (tmp_path / "manifest.json").write_text('{"class_names": ["a", "b"]}')
    asked = config(init_from=str(tmp_path), **{**own, **values})
    if message is None:
        check_warm_start(asked, classes)
        return
    with pytest.raises(TrainerError) as error:
        check_warm_start(asked, classes)
    assert str(error.value) == f"--init_from={str(tmp_path)!r}: {message}"
