"""Tests of Processes, with threads in place of processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from trainer import interrupt
from trainer.distribute.processes import ALONE, Processes
from trainer.distribute.topology import Topology
from trainer.errors import TrainerError, UsageError
from trainer.workdir import Workdir

COUNT = 3


def together(work: Callable[[Processes, int], Any]) -> list[Any]:
    """Returns the result or the error of `work` in each of three processes."""
    barrier = threading.Barrier(COUNT, timeout=20)
    rows: list[Any] = [None] * COUNT

    def process(index: int) -> Any:
        def total(row: np.ndarray) -> np.ndarray:
            assert row.dtype == np.float32
            rows[index] = row
            barrier.wait()
            found = np.sum(rows, axis=0)
            barrier.wait()
            return found

        topology = Topology(index=index, count=COUNT)
        try:
            return work(Processes(topology, total), index)
        except Exception as error:
            return error

    with ThreadPoolExecutor(COUNT) as pool:
        return list(pool.map(process, range(COUNT)))


def test_values_of_all_processes_are_gathered():
    found = together(lambda p, i: p.gather(i + 0.5))
    assert found == [[0.5, 1.5, 2.5]] * 3
    assert together(lambda p, i: p.chief_value(7 - i)) == [7, 7, 7]
    assert together(lambda p, i: p.is_chief) == [True, False, False]


def test_arrays_are_exchanged_bit_for_bit():
    # -0, a subnormal number, infinity, and numbers of all sizes.
    array = np.array(
        [[-0.0, 1e-45, np.inf], [1 / 3, -3e38, 65536.5]], np.float32
    )
    rows = [array, array[::-1] * np.float32(0.1), array * np.float32(-7)]
    for found in together(lambda p, i: p.stacked(rows[i])):
        assert found.tobytes() == np.concatenate(rows).tobytes()
        assert found.shape == (6, 3)
    for found in together(lambda p, i: p.chief_array(rows[i])):
        assert found.tobytes() == array.tobytes()
    assert ALONE.stacked(array) is ALONE.chief_array(array) is array
    assert together(lambda p, i: p.index) == [0, 1, 2]


def test_chief_first_runs_on_the_chief_before_the_others():
    done = []

    def work(processes, index):
        return processes.chief_first(lambda: done.append(index) or index)

    assert together(work) == [0, 1, 2]
    assert done[0] == 0
    assert sorted(done) == [0, 1, 2]
    # `work` runs only once, even if its result is None.
    done.clear()
    together(lambda p, i: p.chief_first(lambda: done.append(i)))
    assert sorted(done) == [0, 1, 2]


def test_by_chief_runs_on_the_chief_alone():
    done = []

    def work(processes, index):
        return processes.by_chief(lambda: done.append(index) or "a result")

    assert together(work) == ["a result", None, None]
    assert done == [0]


@pytest.mark.parametrize("how", ["by_chief", "chief_first"])
@pytest.mark.parametrize(
    ("error", "error_type", "text"),
    [
        (TrainerError("борщ/1.jpg: bad"), TrainerError, "борщ/1.jpg: bad"),
        (UsageError("--x: wrong"), UsageError, "--x: wrong"),
        (ValueError("a bug"), TrainerError, "process 0: ValueError: a bug"),
        # Truncated to 1000 bytes, of which one is the exit status.
        (TrainerError("é" * 600), TrainerError, "é" * 499),
    ],
)
def test_an_error_of_the_chief_is_raised_by_all(how, error, error_type, text):
    def fail():
        raise error

    found = together(lambda p, i: getattr(p, how)(fail))
    assert found[0] is error
    for other in found[1:]:
        assert type(other) is error_type
        assert str(other) == text


def test_check_same_rejects_a_different_value():
    assert together(lambda p, i: p.check_same("x", "differs")) == [None] * 3
    found = together(lambda p, i: p.check_same(f"{i // 2}", "differs"))
    for error in found:
        assert isinstance(error, TrainerError)
        assert str(error) == "differs (process 2 of 3)"


@pytest.mark.parametrize("receiver", range(COUNT))
def test_a_signal_to_any_process_reaches_all(receiver):
    def received(processes, index):
        return processes._any_signal(signal.SIGHUP * (index == receiver))

    assert together(received) == [signal.SIGHUP] * 3
    assert together(lambda p, i: p._any_signal(0)) == [0] * 3


def test_a_single_process_agrees_with_itself():
    assert ALONE.is_chief
    assert ALONE.gather(3.0) == [3.0]
    assert ALONE.chief_first(lambda: 5) == 5
    ALONE.check_same("x", "differs")
    with ALONE.together():
        assert not interrupt.requested()
    with pytest.raises(KeyError):
        ALONE.by_chief(lambda: {}["x"])


def test_the_chief_alone_writes_the_workdir(tmp_path):
    def work(processes, index):
        workdir = Workdir(str(tmp_path / "w"), processes)
        new = workdir.create()
        workdir.event("start", index=index)
        workdir.write_json("config.json", {"index": index})
        workdir.metrics().append({"index": index})
        processes.gather(0)
        position = workdir.metrics().position()
        if index:
            workdir.metrics().cut(0)
            workdir.remove("config.json")
            workdir.remove_if_empty()
        return new, position, workdir.read_json("config.json")

    assert together(work) == [
        (True, 13, {"index": 0}),
        (False, 0, {"index": 0}),
        (False, 0, {"index": 0}),
    ]
    assert (tmp_path / "w/metrics.jsonl").read_text() == '{"index": 0}\n'
    assert len((tmp_path / "w/events.jsonl").read_text().splitlines()) == 1


def test_a_workdir_that_is_not_shared_is_an_error(tmp_path):
    found = together(lambda p, i: Workdir(str(tmp_path / f"{i}"), p).create())
    assert found[0] is True
    for index, error in enumerate(found[1:], 1):
        assert str(error) == (
            f"--workdir={str(tmp_path / str(index))!r}: created by one process"
            " but missing for another; give a folder that all of them share"
        )
