"""A run that is killed at any instant and resumed ends with the same bits.

Each test starts the kill harness in a process that has imported TensorFlow but
not used it, because the harness forks before TensorFlow starts.
`python -m tests.kill_fuzz --help` shows how to repeat one.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence

import pytest

from tests import kill_fuzz as harness
from tests.kill.boundaries import BOUNDARIES, SOLVED_BOUNDARIES
from tests.kill.command import PHASES
from tests.support import jobs

_TIMEOUT_SECONDS = 1200.0


def kill_fuzz(*arguments: str) -> str:
    """Runs the harness, which must find no difference; returns its output."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([jobs.__name__])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "said"
        process = context.Process(target=_run, args=(arguments, path))
        process.start()
        process.join(_TIMEOUT_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        said = path.read_text(encoding="utf-8")
    assert process.exitcode == 0, said
    assert said.endswith("no difference\n")
    return said


def _run(arguments: Sequence[str], path: pathlib.Path) -> None:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 1)
    sys.exit(harness.main(arguments))


@pytest.mark.slow
def test_kills_at_random_instants_of_every_phase():
    # The other tests kill runs with the other flags.
    said = kill_fuzz("--kills=7", "--seed=1", "--variants=1")
    kills = dict(re.findall(r"^(\w+) +(\d+) +1$", said, re.M))
    assert list(kills) == list(PHASES)
    assert all(int(count) >= 1 for count in kills.values())
    assert sum(map(int, kills.values())) >= 7


@pytest.mark.slow
def test_kills_between_any_two_writes():
    said = kill_fuzz("--part=boundaries")
    assert re.findall("^killed: (.*)$", said, re.M) == list(BOUNDARIES)


@pytest.mark.slow
def test_a_solved_head_killed_between_any_two_writes():
    said = kill_fuzz("--part=solved")
    assert re.findall("^killed: (.*)$", said, re.M) == list(SOLVED_BOUNDARIES)


@pytest.mark.slow
def test_a_study_killed_three_times_ends_the_same():
    said = kill_fuzz("--part=study")
    assert len(re.findall("^killed: ", said, re.M)) == 3


@pytest.mark.slow
def test_folds_killed_twice_end_the_same():
    said = kill_fuzz("--part=folds")
    assert len(re.findall("^killed: ", said, re.M)) == 2
