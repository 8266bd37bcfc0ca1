"""Two processes fill one cache, or one each, and train the same run."""

from __future__ import annotations

import json
import pathlib
import signal
import time
from typing import Any

import pytest

from tests.support.command import arguments
from tests.support.jobs import Job, Left, run_command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, lines, weights
from trainer.learning.inputs import Inputs

pytestmark = pytest.mark.slow

# 27 photos in steps of 12; 15 to test on.
RUN = {
    "stage": "feature_extract",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 12,
    "epochs": 2,
    "learning_rate": 1e-2,
    "augment": False,
    "trunk_engine": "graph",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos") / "p", train=9)


@pytest.fixture(scope="module")
def off(photos: str, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The workdir of a run of two processes without a cache."""
    folder = tmp_path_factory.mktemp("off")
    ran(folder / "said", said(photos, folder / "off", cache="off"))
    return folder / "off"


def said(photos: str, workdir: pathlib.Path, **values: Any) -> list[str]:
    fields = {**RUN, "dataset": photos, "workdir": workdir, **values}
    return arguments(fields)


def ran(folder: pathlib.Path, command: list[str], work: Any = run_command):
    left = Job(2, folder, work, command).wait()
    assert [p.status for p in left] == [0, 0], left
    assert [p.err for p in left] == ["", ""]
    return left


def segments(cache: pathlib.Path) -> list[list[str]]:
    """Returns the digests of each segment of features."""
    found = []
    for path in sorted(cache.glob("*/*/rows-*/segment.json")):
        stored = json.loads(path.read_text())
        if stored["arrays"][0][1] == "float32":
            found.append(stored["digests"])
    return found


def assert_same_ends(one: pathlib.Path, two: pathlib.Path) -> None:
    stage = "feature_extract"
    assert_same_arrays(weights(one, stage), weights(two, stage))
    assert lines(one, "metrics.jsonl") == lines(two, "metrics.jsonl")


def own_caches(command: list[str]) -> None:
    """The command, in a process with a cache folder of its own."""
    import os

    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    run_command([*command, f"--cache_dir={command[-1][10:]}/cache-{index}"])


def no_rows(command: list[str]) -> None:
    """The command, in a process that may compute no row."""

    def fail(*_: Any) -> None:
        raise AssertionError("rows are computed again")

    Inputs._blocks = fail
    run_command(command)


def test_two_processes_share_the_work_and_the_rows(
    photos: str, off: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    cache = tmp_path / "cache"
    shared = {"cache": "disk", "cache_dir": cache}
    ran(tmp_path / "1", said(photos, tmp_path / "one", **shared))
    # 27 to train on and 12 + 3 to validate and test, each computed once, in
    # two shares each.
    found = segments(cache)
    digests = [digest for part in found for digest in part]
    assert len(digests) == len(set(digests)) == 27 + 15
    assert sorted(len(part) for part in found)[-2:] == [13, 14]
    ran(tmp_path / "2", said(photos, tmp_path / "two", **shared), no_rows)
    for workdir in (tmp_path / "two", off):
        assert_same_ends(tmp_path / "one", workdir)


def test_processes_without_a_shared_cache_compute_all_rows(
    photos: str, off: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "own"
    command = said(photos, workdir, cache="disk")
    command = [c for c in command if not c.startswith("--workdir")]
    ran(tmp_path / "2", [*command, f"--workdir={workdir}"], own_caches)
    for index in (0, 1):
        found = segments(workdir / f"cache-{index}")
        digests = [digest for part in found for digest in part]
        assert len(digests) == len(set(digests)) == 27 + 15
    assert_same_ends(off, workdir)


def slow_rows(command: list[str]) -> None:
    """The command, in a process that computes five rows a second."""
    from trainer.learning import inputs

    inputs._ROWS_PER_BLOCK = 1
    real = Inputs._blocks

    def blocks(*values: Any):
        for block in real(*values):
            time.sleep(0.2)
            yield block

    Inputs._blocks = blocks
    run_command(command)


def test_a_kill_while_the_cache_is_filled_stops_both(
    photos: str, off: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    cache = tmp_path / "cache"
    command = said(photos, tmp_path / "run", cache="disk", cache_dir=cache)
    job = Job(2, tmp_path / "1", slow_rows, command)
    end = time.monotonic() + 60
    while not list(cache.glob("*/*/.new-*/0.rows")):
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.5)
    job.kill(1, signal.SIGKILL)
    left: list[Left] = job.wait()
    assert [p.status for p in left] == [1, -signal.SIGKILL], left
    ran(tmp_path / "2", command)
    assert_same_ends(tmp_path / "run", off)


def failing_rows(command: list[str]) -> None:
    """The command; the second process cannot compute rows."""
    import os

    def fail(*_: Any) -> None:
        raise RuntimeError("no memory")

    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        Inputs._blocks = fail
    run_command(command)


def test_a_process_that_fails_to_fill_ends_the_other(
    photos: str, tmp_path: pathlib.Path
) -> None:
    command = said(photos, tmp_path / "run", cache="ram")
    left = Job(2, tmp_path / "1", failing_rows, command).wait()
    assert left[1].status == 1
    assert left[0].status == 1
    assert left[0].err == (
        "error: process 1 of 2 could not compute its rows of the cache; see"
        " its message\n"
    )
