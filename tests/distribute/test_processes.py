"""Tests of Processes, with threads in place of processes."""

from __future__ import annotations

import signal
import threading
import time
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


class _LateReply:
    """Sums of three processes, of which the last one hears later.

    Attributes:
      heard: the names of processes and sums, in the order of the replies.
    """

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._barrier = threading.Barrier(COUNT, timeout=20)
        self._rows: list[Any] = [None] * COUNT

    def process(self, index: int) -> Processes:
        def total(row: np.ndarray) -> np.ndarray:
            self._rows[index] = row
            self._barrier.wait()
            found = np.sum(self._rows, axis=0)
            self._barrier.wait()
            if index == COUNT - 1:
                time.sleep(0.3)
            self.heard.append(index)
            return found

        return Processes(Topology(index=index, count=COUNT), total)


@pytest.mark.parametrize("how", ["end", "error", "difference"])
def test_no_process_leaves_before_all_have_the_last_sum(how):
    replies = _LateReply()

    def work(index: int) -> None:
        processes = replies.process(index)

        def fail() -> None:
            raise TrainerError("no")

        try:
            if how == "error":
                processes.by_chief(fail)
            elif how == "difference":
                processes.check_same(str(index), "no")
            else:
                with processes.together():
                    pass
        except TrainerError:
            assert how != "end"
        replies.heard.append("left")

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(work, range(COUNT)))
    # The first reply came to all three before one of them left.
    assert set(replies.heard[: replies.heard.index("left")]) >= {0, 1, 2}


def test_a_process_that_has_left_does_no_harm_at_the_end():
    calls = []

    def total(row: np.ndarray) -> np.ndarray:
        calls.append(row)
        if len(calls) > 1:
            raise ConnectionError("reset by peer")
        return row

    with Processes(Topology(index=1, count=2), total).together():
        pass
    assert len(calls) == 2

    # The sum before it must not fail: then a process is lost.
    again = Processes(Topology(index=1, count=2), total)
    with pytest.raises(ConnectionError), again.together():
        pass


def test_only_a_signal_that_all_agreed_on_waits_for_all():
    calls = []

    def total(row: np.ndarray) -> np.ndarray:
        calls.append(row)
        return row

    processes = Processes(Topology(index=0, count=2), total)
    for shared, count in ((True, 1), (False, 0)):
        calls.clear()
        with pytest.raises(interrupt.Stopped), processes.together():
            raise interrupt.Stopped(15, shared=shared)
        assert len(calls) == count
