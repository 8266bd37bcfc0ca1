"""Checkpoints that are damaged, diverged or half written by a kill."""

from __future__ import annotations

import os
import pathlib
import resource

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import gen_io_ops

from tests.support.stage import (
    DATA,
    INDEX,
    STAGE,
    Stage,
    assert_equal,
    cut,
    flip,
)
from trainer.errors import TrainerError
from trainer.learning import checkpoints
from trainer.learning.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.learning.restoring import restore_variables


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("conv/kernel", np.nan, "NaN in 1 of 108 values"),
        ("head/bias", -np.inf, "infinity in 1 of 3 values"),
        ("norm/moving_variance", -2.0, "a negative variance, -2"),
    ],
)
def test_restore_variables_refuses_diverged_weights(
    tmp_path, monkeypatch, key, value, found
):
    # All weights are in the checkpoint, as in those of earlier versions.
    monkeypatch.setattr(checkpoints, "left_out", lambda *a, **k: frozenset())
    stage = Stage(tmp_path)
    values = stage.variables[key].numpy().copy()
    values.flat[0] = value
    stage.variables[key].assign(values)
    stage.checkpoints.save()
    with pytest.raises(TrainerError) as error:
        restore_variables(stage.path(), Stage(tmp_path).variables)
    assert str(error.value) == (
        f"{stage.path()}: {key} holds {found}: the run has diverged; legal are"
        f" finite numbers, and variances of 0 or more; remove {stage.path()}.*"
        " to use the checkpoint before it, or start in another --workdir"
    )
    # Training has --on_nonfinite for this case.
    other = Stage(tmp_path)
    assert other.checkpoints.restore() is True
    np.testing.assert_array_equal(other.variables[key].numpy(), values)


def test_pipes_in_place_of_checkpoints_are_not_read(tmp_path):
    stage = Stage(tmp_path)
    stage.checkpoints.save()
    path = stage.path()
    os.remove(path + DATA)
    os.mkfifo(path + DATA)
    with pytest.raises(TrainerError, match="or not a regular file"):
        restore_variables(path, stage.variables)
    os.remove(path + INDEX)
    os.mkfifo(path + INDEX)
    assert find_checkpoint(stage.workdir, STAGE, "last") is None
    listing = pathlib.Path(path).parent / "checkpoint"
    listing.unlink()
    os.mkfifo(listing)
    with pytest.raises(TrainerError) as error:
        Stage(tmp_path)
    assert str(error.value) == (
        f"{listing}: not a regular file; remove it, and start again"
    )


def test_no_memory_does_not_skip_a_checkpoint(tmp_path, monkeypatch):
    stage = Stage(tmp_path)
    stage.checkpoints.save()

    def no_memory(path):
        raise MemoryError

    monkeypatch.setattr(checkpoints, "read_all", no_memory)
    with pytest.raises(TrainerError, match="free memory, and start again"):
        Stage(tmp_path).checkpoints.restore()
    monkeypatch.undo()
    assert Stage(tmp_path).checkpoints.restore() is True


PASSED_OVER = "; trying the checkpoint before it\n"
REMOVED = ": cannot be read (truncated); it is removed\n"


@pytest.mark.parametrize(
    ("damage", "end"),
    [
        (lambda path: cut(path + DATA, 0.0), PASSED_OVER),
        (lambda path: cut(path + DATA, 0.5), PASSED_OVER),
        (lambda path: cut(path + INDEX, 0.0), REMOVED),
        (lambda path: cut(path + INDEX, 0.5), REMOVED),
        (lambda path: flip(path + DATA), PASSED_OVER),
        (lambda path: os.remove(path + DATA), PASSED_OVER),
    ],
    ids=[
        "data empty",
        "data cut",
        "index empty",
        "index cut",
        "a byte changed",
        "data missing",
    ],
)
def test_a_damaged_checkpoint_is_named_and_skipped(
    tmp_path, damage, end, capsys
):
    stage = Stage(tmp_path)
    stage.step()
    stage.checkpoints.save()
    good = stage.arrays()
    stage.step()
    path = stage.checkpoints.save()
    damage(path)

    # If a command names this checkpoint, the error names the one before it.
    other = Stage(tmp_path)
    with pytest.raises(TrainerError) as error:
        restore_variables(path, other.variables)
    text = str(error.value)
    assert text.startswith(f"{path}: cannot be restored (")
    assert text.endswith(
        f"); remove {path}.* to use the checkpoint before it, or start in"
        " another --workdir"
    )
    assert "\n" not in text

    # A resumed run uses the checkpoint before it.
    again = Stage(tmp_path)
    assert again.checkpoints.restore() is True
    said = capsys.readouterr().out
    assert said.startswith(f"warning: {path}: cannot be read (")
    assert said.endswith(end)
    assert said.count("\n") == 1
    assert again.state.step == 1
    assert_equal(again.arrays(), good)
    assert checkpoint_step(again.path()) == 1
    again.step()
    again.checkpoints.save()
    assert checkpoint_step(again.path()) == 2


def test_no_complete_checkpoint_is_a_one_line_error(tmp_path):
    stage = Stage(tmp_path)
    for _ in range(2):
        stage.step()
        cut(stage.checkpoints.save() + DATA, 0.5)
    with pytest.raises(TrainerError) as error:
        Stage(tmp_path).checkpoints.restore()
    folder = pathlib.Path(stage.path()).parent
    assert str(error.value).startswith(
        f"{folder}: none of its 2 checkpoints can be read ("
    )
    assert "\n" not in str(error.value)


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WHOLE = {"ckpt-1.index", "ckpt-1.data-00000-of-00001"}


def test_a_first_checkpoint_with_a_truncated_index_is_removed(tmp_path, capsys):
    """A kill while TensorFlow writes it, from its beginning to its end."""
    stage = Stage(tmp_path)
    before = stage.arrays()
    stage.state.step = 1
    path = stage.checkpoints.save(best=True)
    cut(path + INDEX, 0.9)
    cut(stage.path("best") + INDEX, 0.0)
    assert find_checkpoint(stage.workdir, STAGE, "last") is None
    again = Stage(tmp_path)
    assert again.checkpoints.restore() is False
    assert_equal(again.arrays(), before)
    assert capsys.readouterr().out.count("(truncated)") == 2
    for kind in ("last", "best"):
        left = names(tmp_path / "checkpoints" / STAGE / kind)
        assert left == {"checkpoint"}


def test_leftovers_of_a_kill_are_removed(tmp_path, capsys):
    stage = Stage(tmp_path)
    stage.step()
    path = pathlib.Path(stage.checkpoints.save())
    for temporary in ("ckpt-1_temp", "ckpt-2_temp"):
        (path.parent / temporary).mkdir()
        (path.parent / temporary / "part-00000-of-00001.index").touch()
    (path.parent / f"ckpt-0{DATA}").touch()
    (path.parent / "checkpoint.tmp12ab").touch()
    (path.parent / "notes.txt").touch()
    assert Stage(tmp_path).checkpoints.restore() is True
    assert names(path.parent) == {*WHOLE, "checkpoint", "notes.txt"}
    # Nothing of it was ever a checkpoint.
    assert capsys.readouterr().out == ""


def test_a_resume_removes_checkpoints_beyond_the_limit(tmp_path):
    """A kill came after the last save of a stage, before it removed one."""
    stage = Stage(tmp_path, keep=4)
    for _ in range(4):
        stage.step()
        stage.checkpoints.save()
    assert Stage(tmp_path, keep=2).checkpoints.restore() is True
    folder = pathlib.Path(stage.path()).parent
    assert sorted(p.name for p in folder.glob("*.index")) == [
        "ckpt-3.index",
        "ckpt-4.index",
    ]
    listed = tf.train.get_checkpoint_state(str(folder))
    assert [checkpoint_step(p) for p in listed.all_model_checkpoint_paths] == [
        3,
        4,
    ]


def test_a_kill_while_saving_a_step_again_leaves_no_mix(tmp_path, monkeypatch):
    """TensorFlow moves the new data to their place before the new index."""
    stage = Stage(tmp_path, keep=1)
    stage.step()
    stage.checkpoints.save()

    class Killed(BaseException):
        pass

    def data_only(prefixes, destination, **kwargs):
        part = prefixes[0].numpy().decode()
        os.replace(part + DATA, destination.numpy().decode() + DATA)
        raise Killed

    stage.state.pending_validation = True
    monkeypatch.setattr(gen_io_ops, "merge_v2_checkpoints", data_only)
    with pytest.raises(Killed):
        stage.checkpoints.save()
    monkeypatch.undo()
    again = Stage(tmp_path, keep=1)
    assert again.checkpoints.restore() is False
    assert names(tmp_path / "checkpoints" / STAGE / "last") == {"checkpoint"}


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path):
    stage = Stage(tmp_path)
    stage.step()
    stage.checkpoints.save()
    good = stage.arrays()
    stage.step()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(TrainerError) as error:
            stage.checkpoints.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    text = str(error.value)
    assert "/last: step 2 cannot be saved (" in text
    assert "\n" not in text
    again = Stage(tmp_path)
    assert again.checkpoints.restore() is True
    assert again.state.step == 1
    assert_equal(again.arrays(), good)
