"""Tests of the lock with a heartbeat, with a clock that the tests advance."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from tests.support.clock import ManualClock, wait_until
from trainer.errors import TrainerError
from trainer.workdir import heartbeat
from trainer.workdir.heartbeat import HeartbeatLock, HeartbeatTiming
from trainer.workdir.holder import Holder, holder_of, this_process

TIMING = HeartbeatTiming()
# A process of another machine, whose pid is meaningless here.
ELSEWHERE = Holder(
    owner="x", pid=77, host="far", machine="m", since="2026-01-02T03:04:05"
)


@pytest.fixture(params=["disk", "ram"])
def path(request, tmp_path) -> str:
    """The path of the lock file: on a disk, or a ram:// URL of TensorFlow."""
    if request.param == "disk":
        return str(tmp_path / "lock")
    folder = f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(folder)
    return f"{folder}/lock"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def warnings() -> list[str]:
    """The warnings of the locks that `make_lock` creates."""
    return []


@pytest.fixture
def make_lock(warnings, clock):
    """Returns a function that creates a lock."""

    def make(path: str, clock: ManualClock = clock) -> HeartbeatLock:
        return HeartbeatLock(
            path, warn=warnings.append, timing=TIMING, clock=clock
        )

    return make


def read(path: str) -> str:
    with tf.io.gfile.GFile(path) as stream:
        return stream.read()


def write(path: str, text: str) -> None:
    # Opening an existing ram:// file would append to it.
    with tf.io.gfile.GFile(f"{path}.new", "w") as stream:
        stream.write(text)
    tf.io.gfile.rename(f"{path}.new", path, overwrite=True)


def test_the_holder_rewrites_the_file_until_release(
    path, make_lock, clock, warnings
):
    lock = make_lock(path)
    lock.acquire()
    first = holder_of(read(path))
    assert (first.pid, first.beat) == (os.getpid(), 0)
    clock.advance_until(
        lambda: holder_of(read(path)).beat >= 2, TIMING.beat_secs
    )
    now = holder_of(read(path))
    assert (now.owner, now.since) == (first.owner, first.since)
    lock.check()
    lock.release()
    assert not tf.io.gfile.exists(path)
    assert warnings == []


def test_a_second_process_names_the_holder(path, make_lock, clock):
    first_clock = ManualClock()
    first = make_lock(path, first_clock)
    first.acquire()
    name = holder_of(read(path)).name

    def beat() -> None:
        first_clock.advance_until(
            lambda: holder_of(read(path)).beat >= 1, TIMING.beat_secs
        )

    clock.at(3.0, beat)
    with pytest.raises(TrainerError) as error:
        make_lock(path).acquire()
    assert str(error.value) == (
        f"--workdir={os.path.dirname(path)!r}: in use by {name}; wait for it"
        " or end it, or give another --workdir"
    )
    assert f"pid {os.getpid()} on " in name
    # One heartbeat is enough, so the process does not wait for the limit.
    assert clock.now() <= 3.0 + TIMING.poll_secs
    first.check()
    first.release()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            ELSEWHERE.to_text(),
            "pid 77 on far, since 2026-01-02T03:04:05",
        ),
        # Partly written, as after a power cut.
        ("", "another process"),
    ],
)
def test_a_silent_holder_is_replaced_with_a_warning(
    path, make_lock, clock, warnings, capsys, text, name
):
    write(path, text)
    lock = make_lock(path)
    lock.acquire()
    watched_secs = clock.now() - TIMING.poll_secs
    assert watched_secs == TIMING.limit_secs
    folder = os.path.dirname(path)
    assert warnings == [f"{folder}: taken over from {name}, silent for 60 s"]
    assert capsys.readouterr().out == (
        f"{folder}: held by {name}; waiting up to 60 s for a heartbeat\n"
    )
    assert holder_of(read(path)).pid == os.getpid()
    lock.release()


@pytest.mark.parametrize("age", [-1000, 10 * TIMING.limit_secs])
def test_a_file_of_the_future_or_of_this_hour_is_watched(
    tmp_path, make_lock, warnings, age
):
    """The clock that stamps the file may be minutes off."""
    path = str(tmp_path / "lock")
    write(path, ELSEWHERE.to_text())
    stamp = time.time() - age
    os.utime(path, (stamp, stamp))
    lock = make_lock(path)
    lock.acquire()
    assert warnings[0].endswith("silent for 60 s")
    lock.release()


def test_an_old_file_is_taken_over_without_watching(
    tmp_path, make_lock, clock, warnings
):
    path = str(tmp_path / "lock")
    write(path, ELSEWHERE.to_text())
    before = time.time() - 2 * 3600
    os.utime(path, (before, before))
    lock = make_lock(path)
    lock.acquire()
    assert clock.now() == TIMING.poll_secs
    assert warnings[0].endswith("silent for 2.0 hours")
    assert os.listdir(tmp_path) == ["lock"]
    lock.release()


def test_a_holder_that_ended_on_this_machine_is_not_watched(
    path, make_lock, clock, warnings
):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = dataclasses.replace(this_process(), pid=ended.pid)
    write(path, dead.to_text())
    lock = make_lock(path)
    lock.acquire()
    assert clock.now() == TIMING.poll_secs
    folder = os.path.dirname(path)
    assert warnings == [
        f"{folder}: taken over from {dead.name}, which has ended without"
        " releasing it"
    ]
    lock.release()


def test_a_dead_pid_counts_only_on_the_same_machine():
    """Two containers may share a host name and both have a process 77."""
    assert ELSEWHERE.has_ended() is False
    here = this_process()
    assert (
        dataclasses.replace(here, machine="m", pid=2**30).has_ended() is False
    )
    assert dataclasses.replace(here, pid=2**30).has_ended() is True
    assert here.has_ended() is False


def test_a_lock_released_while_watched_is_free(
    path, make_lock, clock, warnings
):
    write(path, ELSEWHERE.to_text())
    clock.at(5.0, lambda: tf.io.gfile.remove(path))
    lock = make_lock(path)
    lock.acquire()
    assert clock.now() == 5.0 + TIMING.poll_secs
    assert warnings == []
    lock.release()


def test_one_of_two_simultaneous_processes_is_rejected(path, make_lock, clock):
    """The other process writes the file just after this one."""
    clock.at(TIMING.poll_secs / 3, lambda: write(path, ELSEWHERE.to_text()))
    lock = make_lock(path)
    with pytest.raises(TrainerError, match="in use by pid 77 on far"):
        lock.acquire()
    lock.release()
    assert holder_of(read(path)) == ELSEWHERE


@pytest.mark.parametrize("noticed", [False, True], ids=["before", "after"])
def test_a_lost_lock_is_not_taken_back(path, make_lock, clock, noticed):
    """Checks it before and after the heartbeat's thread notices the loss."""
    lock = make_lock(path)
    lock.acquire()
    write(path, ELSEWHERE.to_text())
    if noticed:
        thread = lock._thread
        clock.advance_until(lambda: not thread.is_alive(), TIMING.beat_secs)
    with pytest.raises(TrainerError) as error:
        lock.check()
    folder = os.path.dirname(path)
    assert str(error.value) == (
        f"--workdir={folder!r}: no longer held by this process (taken over by"
        f" {ELSEWHERE.name}), so nothing more is saved; if nothing else runs"
        " there, the same command resumes from the last checkpoint"
    )
    lock.release()
    assert holder_of(read(path)) == ELSEWHERE


def test_a_removed_lock_file_is_a_lost_lock(path, make_lock):
    lock = make_lock(path)
    lock.acquire()
    tf.io.gfile.remove(path)
    with pytest.raises(TrainerError, match="its lock file is gone"):
        lock.check()
    lock.release()


def test_unreachable_storage_is_an_error_after_the_limit(
    path, make_lock, clock, monkeypatch
):
    lock = make_lock(path)
    lock.acquire()
    # The limit counts from the last heartbeat.
    clock.advance_until(
        lambda: lock._confirmed_at > TIMING.limit_secs, TIMING.beat_secs
    )
    wait_until(lambda: lock._confirmed_at == clock.now())
    real = tf.io.gfile.GFile

    def away(*args):
        raise tf.errors.UnavailableError(None, None, "no route\nto host")

    monkeypatch.setattr(heartbeat.tf.io.gfile, "GFile", away)
    clock.advance(TIMING.limit_secs - 0.1)
    lock.check()
    clock.advance(0.2)
    with pytest.raises(TrainerError) as error:
        lock.check()
    assert str(error.value).endswith(
        "cannot be written to (no route); give a writable folder"
    )
    # The storage is back, and no other process has taken the lock.
    monkeypatch.setattr(heartbeat.tf.io.gfile, "GFile", real)
    lock.check()
    lock.release()
    assert not tf.io.gfile.exists(path)


def test_an_unwritable_folder_is_a_one_line_error(tmp_path, make_lock):
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file")
    with pytest.raises(TrainerError) as error:
        make_lock(f"{folder}/lock").acquire()
    assert str(error.value).startswith(
        f"--workdir={folder!r}: cannot be written to ("
    )
    assert "\n" not in str(error.value)
