"""Tests of the kill harness: it detects differences, and reports phases."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from tests.kill.attempt import Attempt
from tests.kill.command import HEAD, PHASES
from tests.kill.ending import differences, ending
from tests.kill.runs import Aim, KillTestError, check
from tests.support.stage import Stage


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A workdir with the main files of a run of one step."""
    folder = tmp_path_factory.mktemp("template") / "run"
    stage = Stage(folder)
    stage.step()
    stage.checkpoints.save()
    files = {
        "result.json": {"test_accuracy": 0.5, "train_seconds": 1.0},
        "config.json": {"runs": {"finetune": {"seed": 0}}},
        "manifest.json": {},
        "backbone.json": {},
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    (folder / "metrics.jsonl").write_text('{"step": 1, "times": {"wall": 1}}')
    return folder


@pytest.fixture
def workdir(template, tmp_path):
    """A copy of the template, which a test may change."""
    return shutil.copytree(template, tmp_path / "run")


def _rewrite(name, **values):
    return lambda workdir: (workdir / name).write_text(json.dumps(values))


def _save_again(change):
    def save(workdir):
        stage = Stage(workdir)
        stage.checkpoints.restore()
        change(stage)
        stage.checkpoints.save()

    return save


def _nudge(variable) -> None:
    variable.assign(variable.numpy() * 1.0000001)


def _set_state(name, value):
    return _save_again(lambda stage: setattr(stage.state, name, value))


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        (lambda workdir: None, []),
        (
            _save_again(lambda s: _nudge(s.variables["head/kernel"])),
            ["finetune/last/ckpt-1 model/head.Skernel/.ATTRIBUTES"
             "/VARIABLE_VALUE"],
        ),
        (
            _save_again(lambda s: s.optimizer.iterations.assign(7)),
            ["finetune/last/ckpt-1 slots/iteration/.ATTRIBUTES"
             "/VARIABLE_VALUE"],
        ),
        (_set_state("gradient_max", {"a": 1.0}),
         ["finetune/last/ckpt-1 state gradient_max"]),
        (_set_state("seconds", 9.0), []),
        (_rewrite("result.json", test_accuracy=0.5, train_seconds=2.0), []),
        (_rewrite("result.json", test_accuracy=0.5000000000000001),
         ["result.json test_accuracy", "result.json train_seconds"]),
        (_rewrite("metrics.jsonl", step=1, times={"wall": 2}), []),
        (_rewrite("metrics.jsonl", step=2), ["metrics.jsonl line 1"]),
        (
            lambda workdir: (workdir / "metrics.jsonl").write_text(
                '{"step": 1}\n{"step": 1}\n'
            ),
            ["metrics.jsonl line 2"],
        ),
        (lambda workdir: os.mkdir(workdir / "checkpoints/finetune/last/a_temp")
         or (workdir / "checkpoints/finetune/last/a_temp/part").touch(),
         ["file checkpoints/finetune/last/a_temp/part"]),
    ],
    ids=[
        "nothing",
        "a weight",
        "a slot",
        "the state",
        "seconds of the state",
        "a time",
        "a metric",
        "a time in a line",
        "a line",
        "a repeated line",
        "an extra file",
    ],
)  # fmt: skip
def test_differences_are_named_except_times(workdir, change, keys):
    before = ending(workdir)
    change(workdir)
    found = differences(before, ending(workdir))
    assert [line.partition(": ")[0] for line in found] == keys


def test_an_attempt_reports_its_phases_until_it_is_killed(tmp_path):
    def body(name):
        for phase in ("one", "two", "one"):
            name(phase)
        time.sleep(60)

    attempt = Attempt(body, tmp_path / "log")
    assert attempt.wait_for("one", 2)
    ended = attempt.kill()
    assert ended.killed
    assert ended.phase == "one"
    assert [entry.name for entry in ended.entries] == ["one", "two", "one"]
    assert check(ended, tmp_path / "log") is True


def test_a_failed_attempt_is_an_error(tmp_path):
    def body(name):
        name("one")
        raise ValueError("the reason")

    attempt = Attempt(body, tmp_path / "log")
    assert not attempt.wait_for("two", 1)
    with pytest.raises(
        KillTestError, match=r"(?s)status 70 in one.*the reason"
    ):
        check(attempt.end(), tmp_path / "log")


def test_a_kill_after_the_end_counts_as_complete(tmp_path):
    attempt = Attempt(lambda name: name("one"), tmp_path / "log")
    assert not attempt.wait_for("two", 1)
    # The kill comes after the attempt has ended.
    assert check(attempt.kill(), tmp_path / "log") is False


def test_a_missed_phase_is_retried_then_given_up():
    aim = Aim(kills=7, needed=1, seed=0)
    aim.kills = {**dict.fromkeys(PHASES, 2), HEAD: 0}
    assert aim.total == 12
    assert aim.missed() == [HEAD]
    assert not aim.done()
    aim.kills[PHASES[0]] = 4
    assert aim.done()
    aim.kills[HEAD] = 1
    assert aim.missed() == []
