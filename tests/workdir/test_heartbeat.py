"""A lock that shows signs of life, and who may take it over."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.workdir import heartbeat
from trainer.workdir.heartbeat import HeartbeatLock, Pace
from trainer.workdir.holder import Holder, holder_of, this_process

PACE = Pace(beat_secs=0.05, limit_secs=0.4, poll_secs=0.02)
# Of another machine, so that nothing is known of its pid.
ELSEWHERE = Holder(
    owner="x", pid=77, host="far", machine="m", since="2026-01-02T03:04:05"
)


@pytest.fixture(params=["disk", "ram"])
def path(request, tmp_path) -> str:
    """Where the lock goes: on a disk, or where only TensorFlow can write."""
    if request.param == "disk":
        return str(tmp_path / "lock")
    folder = f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(folder)
    return f"{folder}/lock"


class Said(list):
    """Warnings, and a lock that gives them."""

    def lock(self, path: str, pace: Pace = PACE) -> HeartbeatLock:
        return HeartbeatLock(path, warn=self.append, pace=pace)


@pytest.fixture
def said():
    return Said()


def read(path: str) -> str:
    with tf.io.gfile.GFile(path) as stream:
        return stream.read()


def write(path: str, text: str) -> None:
    # In memory, writing to a file that is there appends to it.
    with tf.io.gfile.GFile(f"{path}.new", "w") as stream:
        stream.write(text)
    tf.io.gfile.rename(f"{path}.new", path, overwrite=True)


def test_it_beats_until_it_is_given_back(path, said):
    lock = said.lock(path)
    lock.acquire()
    first = holder_of(read(path))
    assert (first.pid, first.beat) == (os.getpid(), 0)
    end = time.monotonic() + 10
    while (now := holder_of(read(path))).beat < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (now.owner, now.since) == (first.owner, first.since)
    lock.check()
    lock.release()
    assert not tf.io.gfile.exists(path)
    assert said == []


def test_the_second_names_the_first(path, said):
    first = said.lock(path)
    first.acquire()
    name = holder_of(read(path)).name
    began = time.monotonic()
    with pytest.raises(TrainerError) as error:
        said.lock(path, Pace(poll_secs=0.02)).acquire()
    assert str(error.value) == (
        f"--workdir={os.path.dirname(path)!r}: in use by {name}; wait for it"
        " or end it, or give another --workdir"
    )
    assert f"pid {os.getpid()} on " in name
    # A sign of life is enough; the limit of 60 s is not waited for.
    assert time.monotonic() - began < 30
    first.check()
    first.release()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            ELSEWHERE.to_text(),
            "pid 77 on far, since 2026-01-02T03:04:05",
        ),
        # Not whole, as after a power cut.
        ("", "another process"),
    ],
)
def test_a_silent_one_is_taken_over_with_a_warning(
    path, said, capsys, text, name
):
    write(path, text)
    lock = said.lock(path)
    began = time.monotonic()
    lock.acquire()
    assert time.monotonic() - began >= PACE.limit_secs
    folder = os.path.dirname(path)
    assert said == [f"{folder}: taken over from {name}, silent for 0.4 s"]
    assert capsys.readouterr().out == (
        f"{folder}: held by {name}; looking for a sign of life for 0.4 s\n"
    )
    assert holder_of(read(path)).pid == os.getpid()
    lock.release()


def test_the_clock_of_a_silent_one_does_not_matter(tmp_path, said):
    """Its file is stamped with a time to come; it is as silent as any."""
    path = str(tmp_path / "lock")
    write(path, ELSEWHERE.to_text())
    ahead = time.time() + 1000
    os.utime(path, (ahead, ahead))
    said.lock(path).acquire()
    assert said[0].endswith("silent for 0.4 s")


def test_an_old_one_is_taken_over_without_watching(tmp_path, said):
    path = str(tmp_path / "lock")
    write(path, ELSEWHERE.to_text())
    before = time.time() - 2 * 3600
    os.utime(path, (before, before))
    lock = said.lock(path, dataclasses.replace(PACE, limit_secs=600))
    lock.acquire()
    assert said[0].endswith("silent for 2.0 hours")
    assert os.listdir(tmp_path) == ["lock"]
    lock.release()


def test_one_that_has_ended_on_this_machine_is_taken_over_at_once(path, said):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = dataclasses.replace(this_process(), pid=ended.pid)
    write(path, dead.to_text())
    lock = said.lock(path, dataclasses.replace(PACE, limit_secs=600))
    lock.acquire()
    folder = os.path.dirname(path)
    assert said == [
        f"{folder}: taken over from {dead.name}, which has ended without"
        " giving it back"
    ]
    lock.release()


def test_a_dead_pid_of_another_machine_means_nothing(path, said):
    """Two containers share a host name, and have a process 77 each."""
    assert ELSEWHERE.has_ended() is False
    here = this_process()
    assert (
        dataclasses.replace(here, machine="m", pid=2**30).has_ended() is False
    )
    assert dataclasses.replace(here, pid=2**30).has_ended() is True
    assert here.has_ended() is False


def test_one_given_back_while_it_is_watched_is_free(path, said):
    write(path, ELSEWHERE.to_text())
    lock = said.lock(path, dataclasses.replace(PACE, limit_secs=600))
    timer = threading.Timer(0.1, tf.io.gfile.remove, [path])
    timer.start()
    lock.acquire()
    timer.join()
    assert said == []
    lock.release()


def test_of_two_that_come_at_once_one_is_refused(path, said):
    """The other writes just after this one has."""
    lock = said.lock(path, dataclasses.replace(PACE, poll_secs=0.3))
    timer = threading.Timer(0.1, write, [path, ELSEWHERE.to_text()])
    timer.start()
    with pytest.raises(TrainerError, match="in use by pid 77 on far"):
        lock.acquire()
    timer.join()
    lock.release()
    assert holder_of(read(path)) == ELSEWHERE


@pytest.mark.parametrize("beats", [0, 3], ids=["before a beat", "after it"])
def test_one_that_was_taken_over_stops_and_does_not_take_it_back(
    path, said, beats
):
    lock = said.lock(path)
    lock.acquire()
    write(path, ELSEWHERE.to_text())
    time.sleep(beats * PACE.beat_secs)
    with pytest.raises(TrainerError) as error:
        lock.check()
    folder = os.path.dirname(path)
    assert str(error.value) == (
        f"--workdir={folder!r}: no longer this process's (taken over by"
        f" {ELSEWHERE.name}), so nothing more is saved; if nothing else runs"
        " there, the same command goes on from the last checkpoint"
    )
    lock.release()
    assert holder_of(read(path)) == ELSEWHERE


def test_one_whose_file_is_gone_stops(path, said):
    lock = said.lock(path)
    lock.acquire()
    tf.io.gfile.remove(path)
    with pytest.raises(TrainerError, match="its lock file is gone"):
        lock.check()
    lock.release()


def test_storage_that_is_away_is_borne_up_to_the_limit(path, said, monkeypatch):
    lock = said.lock(path)
    lock.acquire()
    real = tf.io.gfile.GFile

    def away(*args):
        raise tf.errors.UnavailableError(None, None, "no route\nto host")

    monkeypatch.setattr(heartbeat.tf.io.gfile, "GFile", away)
    lock.check()
    time.sleep(PACE.limit_secs + 0.1)
    with pytest.raises(TrainerError) as error:
        lock.check()
    assert str(error.value).endswith(
        "cannot be written to (no route); give a folder that can"
    )
    # It has come back, and nobody has taken the lock meanwhile.
    monkeypatch.setattr(heartbeat.tf.io.gfile, "GFile", real)
    lock.check()
    lock.release()
    assert not tf.io.gfile.exists(path)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path, said):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file/lock")
    with pytest.raises(TrainerError) as error:
        said.lock(path).acquire()
    folder = str(tmp_path / "file")
    assert str(error.value).startswith(
        f"--workdir={folder!r}: cannot be written to ("
    )
    assert "\n" not in str(error.value)
