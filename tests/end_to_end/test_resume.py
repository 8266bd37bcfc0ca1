"""A run that is stopped or killed ends like one that never was."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time

import pytest

from tests.support.command import arguments
from tests.support.jobs import Job, run_command
from tests.support.runs import (
    FINISHED,
    assert_same_runs,
    lines,
    small,
    stopped_after,
    train,
)
from trainer import interrupt
from trainer.results.evaluate import Evaluator

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize(
    "saves",
    [
        # In the first epoch of the head, and in the second of finetune.
        pytest.param(1, marks=pytest.mark.slow),
        7,
    ],
)
def test_a_run_stopped_after_a_save_resumes_bit_identically(
    photos, finished, tmp_path, saves
):
    again = tmp_path / "again"
    values = {**FINISHED, "checkpoint_every_steps": 2}
    with stopped_after(saves):
        train(photos, again, **values)
    resumed = train(photos, again, **values)
    assert_same_runs((again, resumed), finished)


@pytest.mark.slow
def test_a_stop_during_validation_saves_the_trained_weights(
    photos, finished, tmp_path, monkeypatch
):
    evaluate_samples, count = Evaluator.evaluate, 0

    def signal_in_the_second(self, samples, **options):
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_samples(self, samples, **options)

    again = tmp_path / "again"
    monkeypatch.setattr(Evaluator, "evaluate", signal_in_the_second)
    with interrupt.watched(), pytest.raises(interrupt.Stopped):
        train(photos, again, **FINISHED)
    monkeypatch.undo()
    # Two epochs of three steps are trained, the second is not validated.
    found = lines(again, "events.jsonl")
    assert [e["step"] for e in found if e["event"] == "save"] == [3, 6]
    resumed = train(photos, again, **FINISHED)
    assert_same_runs((again, resumed), finished)


@pytest.mark.slow
def test_a_run_ended_by_sigint_resumes_bit_identically(
    photos, finished, tmp_path
):
    """Sends a signal to a real process, some time after its second save."""
    killed = tmp_path / "killed"
    values = {"stage": "finetune", **FINISHED}
    flags = arguments(small(photos, killed, **values, checkpoint_every_steps=1))
    job = Job(1, tmp_path / "said", run_command, flags)
    wait_for_saves(killed, 2, job)
    job.kill(0, signal.SIGINT)
    (left,) = job.wait()
    assert left.status == 130, left
    assert not (killed / "lock").exists()
    found = lines(killed, "events.jsonl")
    assert left.err == (
        "stopped by SIGINT; the same command resumes from the last checkpoint\n"
    )
    assert found[-1] == {"event": "stop", "reason": "Stopped: SIGINT"}
    saved = max(e["step"] for e in found if e["event"] == "save")
    (left,) = Job(1, tmp_path / "said", run_command, flags).wait()
    assert (left.status, left.err) == (0, "")
    resumed = [
        e["step"]
        for e in lines(killed, "events.jsonl")
        if e["event"] == "resume"
    ]
    assert resumed[0] == saved >= 2
    again = json.loads((killed / "result.json").read_text())
    assert_same_runs((killed, again), finished)


def wait_for_saves(workdir: pathlib.Path, count: int, job: Job) -> None:
    """Waits until a run has saved so often."""
    events = workdir / "events.jsonl"
    deadline = time.monotonic() + 100
    while not (events.exists() and events.read_text().count('"save"') >= count):
        assert time.monotonic() < deadline
        assert job.processes[0].is_alive(), job.wait()
        time.sleep(0.01)
