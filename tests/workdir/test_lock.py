"""The second process on a workdir is told which the first is."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import subprocess
import sys
import time

import pytest

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
    """A process that holds `tmp_path / "run"`."""
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
    """Of a run of the tiny backbone in `tmp_path / "run"`."""
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


def test_the_second_process_names_the_first_and_a_killed_one_does_not_block(
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
    # Nothing was read there or written.
    assert sorted(os.listdir(tmp_path / "run")) == ["lock", MARKER]
    other.kill()
    other.wait()
    began = time.monotonic()
    with locked(Workdir(str(tmp_path / "run"))):
        assert time.monotonic() - began < 1
        held = holder_of((tmp_path / "run/lock").read_text())
        assert held.pid == os.getpid()
    assert os.listdir(tmp_path / "run") == [MARKER]


def test_a_second_run_in_the_same_process_is_refused(workdir):
    with (
        locked(workdir),
        pytest.raises(TrainerError, match=f"in use by pid {os.getpid()} on"),
        locked(Workdir(workdir.path)),
    ):
        pass


def test_a_lock_is_given_back_whatever_ends_the_block(workdir):
    for error in (TrainerError("x"), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), locked(workdir):
            assert os.path.exists(workdir.file("lock"))
            raise error
        assert os.listdir(workdir.path) == []
        workdir.write_text("x", "nothing is checked any more")
        workdir.remove("x")


@pytest.mark.parametrize("how", ["removed", "of another"])
def test_without_its_lock_a_process_saves_nothing(workdir, how):
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
    assert f"no longer this process's ({words}" in str(error.value)
    assert "\n" not in str(error.value)
    with open(workdir.file("x")) as stream:
        assert stream.read() == "before"
    # Who has lost it does not take it from the other.
    left = ["x"] if how == "removed" else ["lock", "x"]
    assert sorted(os.listdir(workdir.path)) == left


def test_a_lock_file_removed_by_its_last_holder_is_not_enough(
    workdir, monkeypatch
):
    """Opened before the removal, locked after it: another may hold the new."""
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


def test_a_folder_that_was_taken_back_is_made_again(workdir):
    os.rmdir(workdir.path)
    with locked(workdir):
        assert os.listdir(workdir.path) == ["lock"]


def test_where_files_cannot_be_locked_there_is_a_heartbeat(
    workdir, monkeypatch
):
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
def test_which_folders_are_shared_between_machines(path, shared):
    assert is_shared(path, _MOUNTINFO.strip()) is shared


def test_this_machines_own_mounts_can_be_read(tmp_path):
    with open("/proc/self/mountinfo") as stream:
        mounts = stream.read()
    root = lock._file_system("/", mounts)
    assert root and root != "proc"
    assert lock._file_system("/proc/self", mounts) == "proc"
    assert is_shared(str(tmp_path)) is False


def test_a_refused_run_takes_its_new_folder_back(tmp_path):
    config = Config(
        dataset="no_such_data", weights="none", workdir=str(tmp_path / "run")
    )
    with pytest.raises(TrainerError, match="neither a folder nor"):
        training.train(config)
    assert os.listdir(tmp_path) == []


def test_a_study_holds_its_own_folder(tmp_path, monkeypatch):
    seen = []

    def train_one(config):
        seen.append(sorted(os.listdir(tmp_path / "study")))
        with pytest.raises(TrainerError, match="in use by pid"):
            study.train(whole)
        raise KeyboardInterrupt

    whole = Config(stage="study", workdir=str(tmp_path / "study"), models="0")
    monkeypatch.setattr(study.run, "train", train_one)
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
def test_a_run_that_was_taken_over_stops_before_its_next_save(
    tmp_path, monkeypatch
):
    use_tiny_backbone(monkeypatch)
    monkeypatch.setattr(lock, "is_shared", lambda path: True)
    thief = dataclasses.replace(this_process(), pid=77, host="far")
    real = Evaluator.evaluate

    def taken_over_meanwhile(self, samples, **again):
        if (tmp_path / "run/checkpoints/feature_extract/last").exists():
            (tmp_path / "run/lock").write_text(thief.to_text())
        return real(self, samples, **again)

    monkeypatch.setattr(Evaluator, "evaluate", taken_over_meanwhile)
    said = command(*arguments({**flags(tmp_path), "epochs": 3}))
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        f"error: --workdir='{tmp_path}/run': no longer this process's (taken"
        f" over by {thief.name}), so nothing more is saved; if nothing else"
        " runs there, the same command goes on from the last checkpoint"
    )
    # Three steps an epoch: the first was saved, the second was not.
    checkpoints = tmp_path / "run/checkpoints/feature_extract/last"
    assert [path.stem for path in checkpoints.glob("*.index")] == ["ckpt-3"]
    assert (tmp_path / "run/lock").read_text() == thief.to_text()
