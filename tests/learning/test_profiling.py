"""A trace of some steps."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from trainer.learning.profiling import Profile
from trainer.workdir import Workdir


def workdir_in(folder: pathlib.Path) -> Workdir:
    workdir = Workdir(str(folder / "run"))
    workdir.create()
    return workdir


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the calls of a profiler that does nothing."""
    found: list[str] = []
    monkeypatch.setattr(
        tf.profiler.experimental, "start", lambda folder: found.append("start")
    )
    monkeypatch.setattr(
        tf.profiler.experimental, "stop", lambda: found.append("stop")
    )
    return found


@pytest.mark.parametrize(
    ("steps", "step", "expected"),
    [
        pytest.param(None, 0, 10, id="off"),
        pytest.param("5,7", 0, 4, id="ends before the trace"),
        pytest.param("5,7", 3, 1, id="one step before"),
        pytest.param("5,7", 4, 3, id="the traced steps"),
        pytest.param("5,7", 6, 1, id="the rest of them"),
        pytest.param("5,7", 7, 10, id="after it"),
        pytest.param("50,70", 0, 10, id="far before"),
        pytest.param("1,1", 0, 1, id="the first step"),
    ],
)
def test_a_call_ends_where_the_trace_begins_and_ends(
    tmp_path: pathlib.Path, steps: str | None, step: int, expected: int
) -> None:
    profile = Profile(steps, workdir_in(tmp_path))
    assert profile.limit(step, 10) == expected


def test_the_trace_covers_the_steps_once(
    tmp_path: pathlib.Path, did: list[str]
) -> None:
    profile = Profile("3,4", workdir_in(tmp_path))
    step = 0
    while step < 6:
        count = profile.limit(step, 1)
        with profile.call(step, count):
            did.append(str(step + 1))
        step += count
    assert did == ["1", "2", "start", "3", "4", "stop", "5", "6"]


def test_a_resumed_run_traces_the_rest(
    tmp_path: pathlib.Path, did: list[str]
) -> None:
    profile = Profile("3,6", workdir_in(tmp_path))
    with profile.call(4, profile.limit(4, 10)):
        did.append("5 and 6")
    assert did == ["start", "5 and 6", "stop"]


def test_a_second_profiler_is_a_warning(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tf.profiler.experimental.start(str(tmp_path / "other"))
    try:
        profile = Profile("1,2", workdir_in(tmp_path))
        with profile.call(0, 1):
            pass
        # All processes must go on with calls of the same length.
        assert profile.limit(1, 10) == 1
    finally:
        tf.profiler.experimental.stop()
    out = capsys.readouterr().out
    assert out.startswith("warning: --profile: no trace was written (")
    assert out.endswith("); the run continues\n")
