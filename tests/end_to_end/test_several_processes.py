"""Tests of runs that several real processes share.

Their results are compared with those of a single process, and with each other.
"""

from __future__ import annotations

import csv
import json
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.command import arguments, command
from tests.support.jobs import Job, Left, run_command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, lines, weights
from tests.support.tiny import use_tiny_backbone

pytestmark = pytest.mark.slow

# An epoch has 27 photos in three steps of 12. The last step has 3 photos, so
# the later replicas have only padding. The 15 test photos take two steps.
RUN = {
    "stage": "finetune",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 12,
    "head_epochs": 1,
    "epochs": 3,
    "learning_rate": 1e-3,
    "clip_global_norm": 0.5,
    "mix": "cutmix:1",
    "erasing": 0.5,
    "dropout": 0.25,
    "log_every_steps": 1,
    "checkpoint_every_steps": 1,
}
# A run of one stage, whose graphs are small.
HEAD = {
    "stage": "feature_extract",
    "head_epochs": None,
    "mix": None,
    "erasing": None,
    "augment": False,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos") / "p", train=9)


@pytest.fixture(scope="module")
def say(photos):
    """Returns a function: workdir and flags -> the arguments of a run."""

    def made(workdir: pathlib.Path, **values) -> list[str]:
        fields = {**RUN, "dataset": photos, "workdir": workdir, **values}
        return arguments({k: v for k, v in fields.items() if v is not None})

    return made


@pytest.fixture(scope="module")
def one(say, tmp_path_factory):
    """The workdir of the run in a single process."""
    workdir = tmp_path_factory.mktemp("one") / "w"
    return single(say(workdir), workdir)


@pytest.fixture(scope="module")
def two(say, tmp_path_factory):
    """The workdir and output of the same run in two processes."""
    folder = tmp_path_factory.mktemp("two")
    return folder / "w", ran(2, say(folder / "w"), folder)


def single(said: list[str], workdir: pathlib.Path) -> pathlib.Path:
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        left = command(*said)
    assert left.status == 0, left.err
    return workdir


def ran(count: int, said: list[str], folder: pathlib.Path) -> list[Left]:
    left = Job(count, folder, run_command, said).wait()
    assert [p.status for p in left] == [0] * count, left
    return left


def wait_for(workdir: pathlib.Path, event: str, job: Job) -> None:
    """Waits until events.jsonl has a line of this event."""
    path = workdir / "events.jsonl"
    wait_until(
        lambda: path.exists() and f'"event": "{event}"' in path.read_text(), job
    )


def wait_until(done: Callable[[], bool], job: Job) -> None:
    """Waits for a condition; fails if a process ends, or after 300 s."""
    end = time.monotonic() + 300
    while not done():
        alive = all(process.is_alive() for process in job.processes)
        assert alive, job.wait()
        assert time.monotonic() < end, job.wait()
        time.sleep(0.02)


def resumed(workdir: pathlib.Path, folder: pathlib.Path, said: list) -> Job:
    """Starts two processes, and returns their job when it has resumed.

    On a busy machine, TensorFlow may give up a process that starts slowly. The
    error says to start again.
    """
    path = workdir / "events.jsonl"
    for _ in range(3):
        job = Job(2, folder, run_command, said)
        while all(process.is_alive() for process in job.processes):
            if '"event": "resume"' in path.read_text():
                return job
            time.sleep(0.02)
        left = job.wait()
        assert "start all processes again" in str(left), left
    raise AssertionError(left)


def files(workdir: pathlib.Path) -> list[str]:
    """Returns the files of a workdir; of TensorBoard's only the folders."""
    found = (p.relative_to(workdir) for p in workdir.rglob("*") if p.is_file())
    return sorted(
        str(p.parent if p.parts[0] == "tensorboard" else p) for p in found
    )


def assert_same_training(one: pathlib.Path, other: pathlib.Path) -> None:
    """Checks that counts are equal, and weights except for rounding.

    The norm of the difference of the weights may be 0.001 of the norm of the
    change that the training made.
    """
    results = [
        json.loads((w / "result.json").read_text()) for w in (one, other)
    ]
    for name in ("test_confusion", "test_examples", "steps", "audit"):
        assert results[0][name] == results[1][name], name
    assert results[0]["test_loss"] == pytest.approx(
        results[1]["test_loss"], rel=1e-4
    )
    assert_same_predictions(one, other)
    for stage in ("feature_extract", "finetune"):
        if not (one / "checkpoints" / stage).exists():
            continue
        mine, theirs = (weights(w, stage) for w in (one, other))
        assert mine.keys() == theirs.keys()
        slots = [k for k in mine if k.startswith("slots/")]
        # Both moments start from zero, so their norm is their change.
        assert apart(mine, theirs, slots) <= 1e-3 * size(mine, slots)
        if stage == "finetune":
            start = weights(one, "feature_extract")
            moved = [
                k
                for k in mine
                if k.startswith("model/") and np.any(mine[k] != start[k])
            ]
            assert len(moved) > 5
            change = apart(mine, start, moved)
            assert apart(mine, theirs, moved) <= 1e-3 * change
            fixed = set(mine) - set(moved) - set(slots)
            for key in fixed:
                np.testing.assert_array_equal(mine[key], theirs[key])


def assert_same_predictions(one: pathlib.Path, other: pathlib.Path) -> None:
    rows = []
    for workdir in (one, other):
        path = workdir / "predictions.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            rows.append(list(csv.DictReader(stream)))
    for mine, theirs in zip(*rows, strict=True):
        for name in ("id", "true", "predicted"):
            assert mine[name] == theirs[name]
        for name in ("probability", "true_probability"):
            assert float(mine[name]) == pytest.approx(
                float(theirs[name]), abs=1e-3
            )


def apart(one: dict, two: dict, keys) -> float:
    return size({k: one[k] - two[k] for k in keys}, keys)


def size(arrays: dict, keys) -> float:
    squares = [np.sum(np.square(arrays[k], dtype=np.float64)) for k in keys]
    return float(np.sqrt(sum(squares)))


def shown(workdir: pathlib.Path, name: str) -> list[str]:
    return [line["text"] for line in lines(workdir, name) if "text" in line]


def test_two_processes_train_like_one_and_one_prints(one, two):
    workdir, left = two
    assert_same_training(one, workdir)
    assert files(workdir) == files(one)
    # The lines are the same, and each occurs once.
    for name in ("metrics.jsonl", "events.jsonl"):
        keys = [
            [
                {k: line.get(k) for k in ("event", "split", "span", "step")}
                for line in lines(w, name)
            ]
            for w in (one, workdir)
        ]
        assert keys[0] == keys[1]
    stored = json.loads((workdir / "config.json").read_text())
    assert stored["environment"]["processes"] == 2
    assert stored["environment"]["replicas"] == 2
    said = "devices: multi_worker, 2 processes, 2 replicas, here "
    assert left[0].out.count(said) == 1
    assert left[0].out.count("epoch 1/3") == 1
    assert left[1].out == ""
    assert [p.err for p in left] == ["", ""]


def test_two_processes_evaluate_their_run(two, tmp_path):
    workdir, _ = two
    evaluate = ["--stage=evaluate", f"--workdir={workdir}"]
    left = ran(2, evaluate, tmp_path)
    metrics = json.loads((workdir / "evaluation.json").read_text())
    result = json.loads((workdir / "result.json").read_text())
    for name in ("test_confusion", "test_loss"):
        assert metrics[name] == result[name]
    assert "15 examples" in left[0].out
    assert left[1].out == ""


def test_a_job_resumes_after_a_signal_and_a_kill(one, two, say, tmp_path):
    workdir = tmp_path / "cut"
    # SIGTERM to a process that is not the chief, during the first call.
    job = Job(2, tmp_path / "said", run_command, say(workdir))
    wait_for(workdir, "begin", job)
    job.kill(1, signal.SIGTERM)
    left = job.wait()
    assert [p.status for p in left] == [143, 143], left
    for process in left:
        assert process.err == (
            "stopped by SIGTERM; the same command resumes from the last"
            " checkpoint\n"
        )
    stop = lines(workdir, "events.jsonl")[-1]
    assert stop == {"event": "stop", "reason": "Stopped: SIGTERM"}
    saved = [e for e in lines(workdir, "events.jsonl") if e["event"] == "save"]
    assert [e["step"] for e in saved] == [1]
    # A single process can finish a copy of this run.
    alone = tmp_path / "alone"
    shutil.copytree(workdir, alone)
    # SIGKILL to one process; the other reports it and ends.
    job = resumed(workdir, tmp_path / "said", say(workdir))
    before = len(lines(workdir, "events.jsonl"))
    wait_until(lambda: len(lines(workdir, "events.jsonl")) >= before + 3, job)
    job.kill(1, signal.SIGKILL)
    left = job.wait()
    assert [p.status for p in left] == [1, -signal.SIGKILL], left
    (line,) = left[0].err.splitlines()
    assert line.startswith("error: another of the 2 processes exited or does")
    assert line.endswith("training resumes from the last checkpoint")
    ran(2, say(workdir), tmp_path / "said")
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(workdir, stage), weights(two[0], stage))
    assert lines(workdir, "metrics.jsonl") == lines(two[0], "metrics.jsonl")
    single(say(alone), alone)
    assert_same_training(one, alone)
    texts = " ".join(shown(alone, "events.jsonl"))
    assert not shown(workdir, "events.jsonl")
    assert "processes was 2, is 1" in texts
    assert "replicas was 2, is 1" in texts


def test_two_processes_end_early_together(say, tmp_path):
    workdir = tmp_path / "patient"
    # Such a rate moves no weight, so no epoch is better than the first.
    values = {**HEAD, "learning_rate": 1e-30, "patience": 2, "epochs": 9}
    left = ran(2, say(workdir, **values), tmp_path / "p")
    assert [p.err for p in left] == ["", ""]
    result = json.loads((workdir / "result.json").read_text())
    assert result["stopped_early"]["epoch"] == 3
    assert result["steps"] == 9
    workdir = tmp_path / "limited"
    # Over in the first call, on any clock.
    limit = {**HEAD, "time_limit": 1e-6, "steps_per_loop": 1}
    left = ran(2, say(workdir, **limit), tmp_path / "l")
    assert [p.err for p in left] == ["", ""]
    result = json.loads((workdir / "result.json").read_text())
    assert result["steps"] == 1
    assert left[0].out.count("the time limit of 1e-06 minutes") == 2
    assert left[1].out == ""


def test_an_error_of_the_chief_ends_all_processes(photos, say, tmp_path):
    bad = pathlib.Path(shutil.copytree(photos, tmp_path / "bad"))
    (broken,) = bad.glob("train/sushi/003.jpg")
    broken.write_bytes(broken.read_bytes()[:300])
    said = say(tmp_path / "w", dataset=bad)
    left = Job(2, tmp_path / "said", run_command, said).wait()
    assert [p.status for p in left] == [1, 1], left
    assert left[0].err == left[1].err
    (line,) = left[0].err.splitlines()
    assert line.startswith(f"error: {broken}: ")
    assert not (tmp_path / "w").exists()
