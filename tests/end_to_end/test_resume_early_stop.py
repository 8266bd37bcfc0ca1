"""Runs that end early, stopped by signals and started again."""

from __future__ import annotations

import json
import signal

import pytest

from tests.end_to_end.test_resume import wait_for_saves
from tests.support.command import arguments
from tests.support.jobs import Job, run_command
from tests.support.runs import (
    FINISHED,
    TINY,
    assert_same_runs,
    lines,
    small,
    train,
)

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.slow]

PATIENCE = {
    **FINISHED,
    "stage": "finetune",
    "augment": False,
    "monitor": "loss",
    "patience": 1,
    "epochs": 8,
    "head_epochs": 8,
    # The loss rises at some epoch.
    "learning_rate": 0.3,
    "head_learning_rate": 1.0,
    "checkpoint_every_steps": 1,
}
TIME = {
    **TINY,
    "stage": "feature_extract",
    "augment": False,
    "epochs": 8,
    # The first call is the last one.
    "time_limit": 1e-6,
    "steps_per_loop": 1,
}


@pytest.fixture(scope="module")
def straight(tiny, photos, tmp_path_factory):
    """The undisturbed runs."""
    found = {}
    for name, values in (("patience", PATIENCE), ("time", TIME)):
        workdir = tmp_path_factory.mktemp("straight") / name
        found[name] = workdir, train(photos, workdir, **values)
    return found


@pytest.mark.parametrize(
    ("name", "values", "saves", "number"),
    [
        ("patience", PATIENCE, 9, signal.SIGTERM),
        # The end is saved, and is not validated.
        ("time", TIME, 1, signal.SIGKILL),
    ],
)
def test_a_run_ended_by_a_signal_ends_where_it_would_have(
    photos, straight, tmp_path, name, values, saves, number
):
    workdir = tmp_path / "run"
    flags = small(photos, workdir, **values)
    if values["stage"] == "feature_extract":
        del flags["head_epochs"]
    flags = arguments(flags)
    job = Job(1, tmp_path / "said", run_command, flags)
    wait_for_saves(workdir, saves, job)
    job.kill(0, number)
    (left,) = job.wait()
    (left,) = Job(1, tmp_path / "said", run_command, flags).wait()
    assert (left.status, left.err) == (0, "")
    assert len(lines(workdir, "events.jsonl")) > saves
    again = json.loads((workdir / "result.json").read_text())
    assert (
        again["stopped_early"]["reason"]
        == straight[name][1]["stopped_early"]["reason"]
    )
    assert_same_runs((workdir, again), straight[name])
