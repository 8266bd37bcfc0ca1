"""Tests of the lock on a workdir: one process at a time, with kernel locks."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import subprocess
import sys

import pytest

from tests.support.clock import ManualClock
from tests.support.command import arguments, command
from tests.support.photos import make_photos
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results.evaluate import Evaluator
from trainer.run import training
from trainer.study import run as study
from trainer.workdir import MARKER, Workdir, lock
from trainer.workdir.heartbeat import HeartbeatLock
from trainer.workdir.holder import holder_of, this_process
from trainer.workdir.lock import FileLock, is_shared, locked

_HOLD = """
import sys, time
from trainer.workdir.lock import locked
from trainer.workdir import Workdir
with locked(Workdir(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the workdir `tmp_path / "run"`."""
    Workdir(str(tmp_path / "run")).create()
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": "."},
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def workdir(tmp_path) -> Workdir:
    (tmp_path / "run").mkdir()
    return Workdir(str(tmp_path / "run"))


def flags(tmp_path: pathlib.Path) -> dict[str, object]:
    """Returns the flags of a run in `tmp_path / "run"`."""
    return {
        "stage": "feature_extract",
        "dataset": make_photos(tmp_path / "photos"),
        "workdir": tmp_path / "run",
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 8,
        "epochs": 1,
    }


def test_a_second_process_names_the_holder_until_it_is_killed(
    tmp_path, other, monkeypatch
):
    use_tiny_backbone(monkeypatch)
    said = command(*arguments(flags(tmp_path)))
    since = holder_of((tmp_path / "run/lock").read_text()).since
    assert said.status == 1
    assert said.err == (
        f"error: --workdir='{tmp_path}/run': in use by pid {other.pid} on"
        f" {platform.node()}, since {since}; wait for it or end it, or give"
        " another --workdir\n"
    )
    # The second process has written nothing.
    assert sorted(os.listdir(tmp_path / "run")) == ["lock", MARKER]
    other.kill()
    other.wait()
    clock = ManualClock()
    with locked(Workdir(str(tmp_path / "run")), clock=clock):
        assert clock.now() == 0.0
        held = holder_of((tmp_path / "run/lock").read_text())
        assert held.pid == os.getpid()
    assert os.listdir(tmp_path / "run") == [MARKER]


def test_a_second_run_in_the_same_process_is_rejected(workdir):
    with (
        locked(workdir),
        pytest.raises(TrainerError, match=f"in use by pid {os.getpid()} on"),
        locked(Workdir(workdir.path)),
    ):
        pass


@pytest.mark.parametrize(
    "error", [TrainerError("x"), KeyboardInterrupt(), SystemExit(1)]
)
def test_a_lock_is_released_however_the_block_ends(workdir, error):
    found = []

    def run() -> None:
        with locked(workdir):
            found.extend(os.listdir(workdir.path))
            raise error

    with pytest.raises(type(error)):
        run()
    assert found == ["lock"]
    assert os.listdir(workdir.path) == []
    workdir.write_text("x", "without the lock, nothing is checked")


@pytest.mark.parametrize("before", ["", "a dead process"])
def test_a_name_that_is_not_written_yet_is_waited_for(workdir, before):
    """The holder writes its name just after it has taken the lock."""
    first = FileLock(workdir.file("lock"))
    first.acquire()
    name = this_process().to_text()
    clock = ManualClock()
    with open(workdir.file("lock"), "r+") as stream:
        stream.truncate()
        if before:
            dead = dataclasses.replace(this_process(), pid=2**30)
            stream.write(dead.to_text())
            stream.flush()

        def write_name() -> None:
            stream.seek(0)
            stream.truncate()
            stream.write(name)
            stream.flush()

        clock.at(0.2, write_name)
        with pytest.raises(TrainerError, match=f"in use by pid {os.getpid()}"):
            FileLock(workdir.file("lock"), clock).acquire()
        assert 0.2 <= clock.now() < 0.3
        stream.seek(0)
        stream.truncate()
        with pytest.raises(TrainerError, match="in use by another process"):
            FileLock(workdir.file("lock"), clock).acquire()
    first.release()


@pytest.mark.parametrize("how", ["removed", "of another"])
def test_a_process_that_lost_its_lock_saves_nothing(workdir, how):
    workdir.write_text("x", "before")
    with locked(workdir):
        os.remove(workdir.file("lock"))
        if how == "removed":
            words = "its lock file is gone"
        else:
            second = FileLock(workdir.file("lock"))
            second.acquire()
            words = f"taken over by pid {os.getpid()} on {platform.node()}"
        with pytest.raises(TrainerError) as error:
            workdir.write_text("x", "after")
    assert f"no longer held by this process ({words}" in str(error.value)
    assert "\n" not in str(error.value)
    with open(workdir.file("x")) as stream:
        assert stream.read() == "before"
    # It does not remove the lock of the other process.
    left = ["x"] if how == "removed" else ["lock", "x"]
    assert sorted(os.listdir(workdir.path)) == left


def test_a_lock_file_removed_before_it_is_locked_is_not_enough(
    workdir, monkeypatch
):
    """Another process may hold a new lock file at the same path."""
    first, second = (FileLock(workdir.file("lock")) for _ in range(2))
    first.acquire()
    opened = os.open(workdir.file("lock"), os.O_RDWR)
    first.release()
    second.acquire()
    third = FileLock(workdir.file("lock"))
    fds = [opened]
    real = FileLock._opened
    monkeypatch.setattr(
        FileLock, "_opened", lambda self: fds.pop() if fds else real(self)
    )
    with pytest.raises(TrainerError, match="in use by"):
        third.acquire()
    assert fds == []
    second.release()


def test_a_removed_folder_is_created_again(workdir):
    os.rmdir(workdir.path)
    with locked(workdir):
        assert os.listdir(workdir.path) == ["lock"]


def test_without_kernel_locks_a_heartbeat_is_used(workdir, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    taken = []
    monkeypatch.setattr(
        HeartbeatLock, "acquire", lambda self: taken.append(self._path)
    )
    with locked(workdir):
        assert taken == [workdir.file("lock")]


_MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:50 / /mnt/team rw - nfs4 nas:/team rw
31 30 0:51 / /mnt/team/scratch rw - xfs /dev/vdb rw
32 27 0:52 / /mnt/my\040photos rw,relatime master:1 - fuse.sshfs me@host: rw
33 27 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw
34 27 0:53 / /mnt/over rw - ext4 /dev/vdc rw
35 27 0:54 / /mnt/over rw - cifs //host/share rw
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/home/me/runs/a", False),
        ("/mnt/team", True),
        ("/mnt/team/runs/a", True),
        ("/mnt/teammate/runs", False),
        ("/mnt/team/scratch/runs", False),
        ("/mnt/my photos/runs", True),
        ("/mnt/stick/runs", False),
        ("/mnt/over/runs", True),
        ("gs://bucket/runs", True),
    ],
)
def test_mounts_tell_which_folders_machines_share(path, shared):
    assert is_shared(path, _MOUNTINFO.strip()) is shared


def test_the_mounts_of_this_machine_can_be_read(tmp_path):
    with open("/proc/self/mountinfo") as stream:
        mounts = stream.read()
    root = lock._file_system("/", mounts)
    assert root not in ("", "proc")
    assert lock._file_system("/proc/self", mounts) == "proc"
    assert is_shared(str(tmp_path)) is False


def test_a_rejected_run_removes_its_new_folder(tmp_path):
    config = Config(
        dataset="no_such_data", weights="none", workdir=str(tmp_path / "run")
    )
    with pytest.raises(TrainerError, match="neither a folder nor"):
        training.train(config)
    assert os.listdir(tmp_path) == []


def test_a_study_holds_the_lock_of_its_folder(tmp_path, monkeypatch):
    seen = []

    def train_one(config):
        seen.append(sorted(os.listdir(tmp_path / "study")))
        with pytest.raises(TrainerError, match="in use by pid"):
            study.train(whole)
        raise KeyboardInterrupt

    whole = Config(stage="study", workdir=str(tmp_path / "study"), models="0")
    monkeypatch.setattr(study.training, "train", train_one)
    with pytest.raises(KeyboardInterrupt):
        study.train(whole)
    assert seen == [["lock", MARKER]]
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_workdir_in_use_can_be_read(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)
    assert command(*arguments(flags(tmp_path))).status == 0
    workdir = str(tmp_path / "run")
    using = (
        {"stage": "evaluate"},
        {"stage": "predict", "inputs": str(tmp_path / "photos/test")},
        {"stage": "export", "output": str(tmp_path / "export")},
    )
    with locked(Workdir(workdir)):
        for values in using:
            said = command(*arguments({**values, "workdir": workdir}))
            assert said.status == 0, said.err
        assert (tmp_path / "run/lock").exists()
    assert not (tmp_path / "run/lock").exists()


@pytest.mark.slow
def test_a_run_that_lost_its_lock_stops_before_its_next_save(
    tmp_path, monkeypatch
):
    use_tiny_backbone(monkeypatch)
    monkeypatch.setattr(lock, "is_shared", lambda path: True)
    thief = dataclasses.replace(this_process(), pid=77, host="far")
    real = Evaluator.evaluate

    def evaluate_after_takeover(self, samples, **again):
        if (tmp_path / "run/checkpoints/feature_extract/last").exists():
            (tmp_path / "run/lock").write_text(thief.to_text())
        return real(self, samples, **again)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate_after_takeover)
    said = command(*arguments({**flags(tmp_path), "epochs": 3}))
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        f"error: --workdir='{tmp_path}/run': no longer held by this process"
        f" (taken over by {thief.name}), so nothing more is saved; if nothing"
        " else runs there, the same command resumes from the last checkpoint"
    )
    # An epoch has three steps; the first epoch was saved, the second was not.
    checkpoints = tmp_path / "run/checkpoints/feature_extract/last"
    assert [path.stem for path in checkpoints.glob("*.index")] == ["ckpt-3"]
    assert (tmp_path / "run/lock").read_text() == thief.to_text()
