"""Saved, overwritten, restored: everything there, or one line that says why."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import gen_io_ops

from tests.support.classifiers import tiny_classifier
from trainer.errors import TrainerError
from trainer.model.freeze import freeze_plan
from trainer.train import checkpoints
from trainer.train.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.train.checkpoints import (
    StageCheckpoints,
    restore_variables,
)
from trainer.train.state import StageState, StateInCheckpoint
from trainer.workdir import Workdir

STAGE = "finetune"


class Stage:
    """A tiny classifier, its optimizer and its checkpoints."""

    def __init__(
        self,
        path: pathlib.Path | str,
        *,
        unfreeze: str = "last:2",
        rate: float = 1e-3,
        keep: int = 3,
        seed: int = 0,
    ) -> None:
        self.classifier = tiny_classifier(seed=seed)
        self.variables = self.classifier.variables
        plan = freeze_plan(self.classifier, unfreeze)
        self.trainable = [self.variables[key] for key in plan.trainable]
        self.optimizer = keras.optimizers.Adam(rate)
        self.optimizer.build(self.trainable)
        self.state = StageState(
            stage=STAGE,
            start_step=0,
            step=0,
            epoch_sums={"loss": 0.0, "correct": 0.0, "count": 0.0},
            window_sums={"loss": 0.0, "correct": 0.0, "count": 0.0},
            best=None,
            digests={},
            gradient_max={},
            metrics_position=0,
            seconds=0.0,
        )
        self.workdir = Workdir(str(path))
        self.checkpoints = StageCheckpoints(
            self.workdir,
            variables=self.variables,
            optimizer=self.optimizer,
            state=self.state,
            keep=keep,
        )

    def step(self) -> None:
        """Moves everything that training moves, each step differently."""
        self.state.step += 1
        self.optimizer.apply(
            [
                np.full(v.shape, self.state.step + i, np.float32)
                for i, v in enumerate(self.trainable)
            ],
            self.trainable,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All values that must survive, the learning rate not among them."""
        kept = [v for v in self.optimizer.variables
                if v is not self.optimizer._learning_rate]  # fmt: skip
        return {
            **{k: v.numpy().copy() for k, v in self.variables.items()},
            **{f"slot {i}": v.numpy().copy() for i, v in enumerate(kept)},
        }

    def overwrite(self) -> None:
        """Other values everywhere."""
        for variable in (*self.variables.values(), *self.optimizer.variables):
            variable.assign(variable.numpy() + 1)

    def path(self, kind: str = "last") -> str:
        """The prefix of the latest or best checkpoint."""
        path = find_checkpoint(self.workdir, STAGE, kind)
        assert path is not None
        return path


def assert_equal(one: dict, other: dict) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_restores_what_was_saved_bit_for_bit(tmp_path):
    stage = Stage(tmp_path)
    for _ in range(3):
        stage.step()
    saved = stage.arrays()
    stage.checkpoints.save()
    stage.overwrite()
    assert all(np.all(saved[k] != v) for k, v in stage.arrays().items())
    assert stage.checkpoints.restore() is True
    assert_equal(stage.arrays(), saved)


def test_goes_on_in_another_model_as_if_never_stopped(tmp_path):
    one = Stage(tmp_path)
    one.step()
    one.checkpoints.save()
    other = Stage(tmp_path, seed=9)
    assert other.checkpoints.restore()
    for stage in (one, other):
        stage.step()
    assert_equal(one.arrays(), other.arrays())


def test_the_state_comes_back_whole(tmp_path):
    stage = Stage(tmp_path)
    values = {
        "start_step": 5,
        "step": 8,
        # Neither is a float32.
        "epoch_sums": {"loss": 0.1 + 0.2, "correct": 16777217.0, "count": 7.0},
        "window_sums": {"loss": 1e-30, "correct": 0.0, "count": 1.0},
        "best": {"step": 6, "accuracy": 1 / 3, "loss": 2.0},
        "digests": {"head/kernel": "00ff"},
        "gradient_max": {"head/kernel": 0.1},
        "metrics_position": 2**40,
        "seconds": 1.25,
        "pending_validation": True,
        "rollbacks": 2,
    }
    for name, value in values.items():
        setattr(stage.state, name, value)
    stage.checkpoints.save()
    other = Stage(tmp_path)
    other.checkpoints.restore()
    assert vars(other.state) == {"stage": STAGE, **values}


def test_nothing_to_restore(tmp_path):
    stage = Stage(tmp_path)
    before = stage.arrays()
    assert stage.checkpoints.restore() is False
    assert_equal(stage.arrays(), before)
    assert find_checkpoint(stage.workdir, STAGE, "best") is None


def test_the_learning_rate_asked_for_wins(tmp_path):
    one = Stage(tmp_path, rate=1e-3)
    one.step()
    one.checkpoints.save()
    other = Stage(tmp_path, rate=1e-5)
    other.checkpoints.restore()
    assert float(other.optimizer.learning_rate) == np.float32(1e-5)
    assert int(other.optimizer.iterations) == 1


@pytest.mark.parametrize(
    ("saved", "asked"),
    [
        ("none", "last:2"),
        ("last:2", "none"),
        # As many variables, of the same shapes.
        ("regex:norm", "regex:top_norm"),
        ("regex:top_conv", "regex:top_norm"),
    ],
)
def test_the_slots_of_another_plan_are_refused(tmp_path, saved, asked):
    stage = Stage(tmp_path, unfreeze=saved)
    stage.step()
    stage.checkpoints.save()
    other = Stage(tmp_path, unfreeze=asked)
    with pytest.raises(TrainerError, match="cannot be restored") as error:
        other.checkpoints.restore()
    assert "\n" not in str(error.value)


def test_slots_are_found_by_path_not_by_position(tmp_path):
    """The same variables in another order."""
    one = Stage(tmp_path)
    one.step()
    one.checkpoints.save()
    other = Stage(tmp_path)
    optimizer = keras.optimizers.Adam()
    optimizer.build(other.trainable[::-1])
    StageCheckpoints(
        other.workdir,
        variables=other.variables,
        optimizer=optimizer,
        state=other.state,
        keep=1,
    ).restore()

    def slots(optimizer) -> dict[str, np.ndarray]:
        # The first part is the optimizer's own name.
        return {
            v.path.partition("/")[2]: v.numpy() for v in optimizer.variables
        }

    assert_equal(slots(optimizer), slots(one.optimizer))


def test_slots_of_variables_with_one_path_are_all_kept(tmp_path):
    """Keras joins names with _, so that two paths may become one."""

    def build():
        # "a/b_c" and "a_b/c" both become a_b_c_momentum.
        with keras.name_scope("a"):
            one = keras.Variable(np.zeros(2, np.float32), name="b_c")
        with keras.name_scope("a_b"):
            two = keras.Variable(np.zeros(2, np.float32), name="c")
        optimizer = keras.optimizers.Adam()
        optimizer.build([one, two])
        state = Stage(tmp_path).state
        return optimizer, StageCheckpoints(
            Workdir(str(tmp_path)),
            variables={"one": one, "two": two},
            optimizer=optimizer,
            state=state,
            keep=1,
        )

    optimizer, checkpoints = build()
    paths = [v.path for v in optimizer.variables]
    assert len(set(paths)) < len(paths)
    for i, variable in enumerate(optimizer.variables):
        variable.assign(np.full(variable.shape, i + 1, variable.dtype))
    checkpoints.save()
    again, checkpoints = build()
    checkpoints.restore()
    values = [int(np.max(v.numpy())) for v in again.variables[2:]]
    assert values == [3, 4, 5, 6]


def test_the_latest_few_and_the_best_are_kept(tmp_path):
    stage = Stage(tmp_path, keep=2)
    for best in (False, True, False, False, True, False, False):
        stage.step()
        path = stage.checkpoints.save(best=best)
        assert checkpoint_step(path) == stage.state.step
        assert path == stage.path()

    def steps(kind: str) -> list[int]:
        folder = tmp_path / "checkpoints" / STAGE / kind
        return sorted(
            checkpoint_step(str(p.with_suffix("")))
            for p in folder.glob("*.index")
        )

    assert steps("last") == [6, 7]
    assert steps("best") == [5]
    assert checkpoint_step(stage.path("best")) == 5


def test_the_kept_ones_are_counted_across_restarts(tmp_path):
    for _ in range(4):
        stage = Stage(tmp_path, keep=2)
        stage.checkpoints.restore()
        stage.step()
        stage.checkpoints.save()
    folder = tmp_path / "checkpoints" / STAGE / "last"
    assert sorted(p.name for p in folder.glob("*.index")) == [
        "ckpt-3.index",
        "ckpt-4.index",
    ]


def test_restore_variables_takes_the_weights_only(tmp_path):
    stage = Stage(tmp_path, unfreeze="last:2")
    stage.step()
    stage.checkpoints.save(best=True)
    saved = {k: v.numpy().copy() for k, v in stage.variables.items()}
    # Another plan: what is trained does not matter here.
    other = Stage(tmp_path / "other", unfreeze="none", seed=9)
    slots = [v.numpy().copy() for v in other.optimizer.variables]
    restore_variables(stage.path("best"), other.variables)
    assert_equal({k: v.numpy() for k, v in other.variables.items()}, saved)
    for variable, before in zip(other.optimizer.variables, slots, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)
    assert other.state.step == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda variables: {**variables, "more": keras.Variable([1.0])},
        lambda variables: {**variables, "head/bias": keras.Variable([1.0])},
    ],
    ids=["a variable it lacks", "another shape"],
)
def test_restore_variables_of_another_model_is_refused(tmp_path, change):
    stage = Stage(tmp_path)
    stage.checkpoints.save()
    with pytest.raises(TrainerError, match="cannot be restored") as error:
        restore_variables(stage.path(), change(stage.variables))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("conv/kernel", np.nan, "NaN in 1 of 108 values"),
        ("head/bias", -np.inf, "infinity in 1 of 3 values"),
        ("norm/moving_variance", -2.0, "a negative variance, -2"),
    ],
)
def test_restore_variables_refuses_what_diverged(tmp_path, key, value, found):
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
    # A run that goes on has its own rule for it, --on_nonfinite.
    other = Stage(tmp_path)
    assert other.checkpoints.restore() is True
    np.testing.assert_array_equal(other.variables[key].numpy(), values)


def test_pipes_in_the_place_of_checkpoints_are_not_read(tmp_path):
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


def test_no_memory_for_a_checkpoint_does_not_pass_it_over(
    tmp_path, monkeypatch
):
    stage = Stage(tmp_path)
    stage.checkpoints.save()

    def no_memory(path):
        raise MemoryError

    monkeypatch.setattr(checkpoints, "check_index", no_memory)
    with pytest.raises(TrainerError, match="free memory, and start again"):
        Stage(tmp_path).checkpoints.restore()
    monkeypatch.undo()
    assert Stage(tmp_path).checkpoints.restore() is True


def cut(path: str, share: float) -> None:
    """Leaves the first part of a file."""
    os.truncate(path, int(os.path.getsize(path) * share))


def flip(path: str) -> None:
    """Changes a byte in the middle."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    pathlib.Path(path).write_bytes(data)


DATA, INDEX = ".data-00000-of-00001", ".index"


PASSED_OVER = "; going on from the one before it\n"
REMOVED = ": cannot be read (truncated); going on without it\n"


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
def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path, damage, end, capsys
):
    stage = Stage(tmp_path)
    stage.step()
    stage.checkpoints.save()
    good = stage.arrays()
    stage.step()
    path = stage.checkpoints.save()
    damage(path)

    # Who asks for this very one is told how to get the one before it.
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

    # A run that goes on gets it by itself.
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


def test_where_none_is_whole_there_is_one_line(tmp_path):
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


def test_a_first_checkpoint_whose_index_was_cut_short_is_none(tmp_path, capsys):
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


def test_what_a_kill_left_of_checkpoints_is_removed(tmp_path, capsys):
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


def test_more_than_are_kept_are_removed_on_resume(tmp_path):
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


def test_saving_a_step_once_more_never_leaves_two_halves(tmp_path, monkeypatch):
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


def test_a_rollback_forgets_what_came_after_the_boundary(tmp_path):
    stage = Stage(tmp_path, keep=5)
    stage.step()
    stage.checkpoints.save(epoch=True)
    boundary = stage.arrays()
    for _ in range(2):
        stage.step()
        stage.checkpoints.save()
    stage.checkpoints.roll_back()
    assert stage.state.step == 1
    assert_equal(stage.arrays(), boundary)
    assert checkpoint_step(stage.path()) == 1
    again = Stage(tmp_path, keep=5)
    assert again.checkpoints.restore() is True
    assert again.state.step == 1


def test_a_boundary_of_a_later_step_is_not_gone_back_to(tmp_path):
    """A kill between the boundary and the latest leaves one that is ahead."""
    stage = Stage(tmp_path)
    assert not stage.checkpoints.has_boundary()
    stage.step()
    stage.checkpoints.save(epoch=True)
    boundary = stage.arrays()
    folder = tmp_path / "checkpoints" / STAGE / "epoch"
    for path in folder.glob("ckpt-1.*"):
        ahead = path.name.replace("ckpt-1.", "ckpt-3.")
        (folder / ahead).write_bytes(path.read_bytes())
    stage.step()
    stage.checkpoints.save()
    assert stage.checkpoints.has_boundary()
    stage.checkpoints.roll_back()
    assert stage.state.step == 1
    assert_equal(stage.arrays(), boundary)


def test_a_full_disk_is_one_line_and_spares_what_was_saved(tmp_path):
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


@pytest.mark.slow
def test_restores_into_a_fresh_process(tmp_path):
    stage = Stage(tmp_path / "run")
    for _ in range(2):
        stage.step()
    stage.checkpoints.save()
    script = f"""
        import sys
        import numpy as np
        from tests.train.test_checkpoints import Stage
        stage = Stage({str(tmp_path / "run")!r}, seed=9)
        assert stage.checkpoints.restore()
        stage.step()
        np.savez({str(tmp_path / "after.npz")!r}, **stage.arrays())
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120
    )
    stage.step()
    assert_equal(dict(np.load(tmp_path / "after.npz")), stage.arrays())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": "7"}, "step is a str"),
        ({"step": None}, "step is a NoneType"),
        ({"epoch_sums": []}, "epoch_sums is a list"),
        ({"digests": {"a": 1}}, "digests.a is a int"),
        ({"best": 3}, "best is a int"),
    ],
)
def test_a_stored_state_has_the_right_types(change, reason):
    state = dataclasses.asdict(_state())
    whole = StateInCheckpoint(_state())
    whole.deserialize(json.dumps({**state, "of_a_newer_version": 1}))
    assert dataclasses.asdict(whole.state) == state
    with pytest.raises(ValueError, match=reason):
        whole.deserialize(json.dumps({**state, **change}))


def _state() -> StageState:
    return StageState(
        stage="finetune",
        start_step=0,
        step=3,
        epoch_sums={"loss": 1.5, "count": 2},
        window_sums={},
        best=None,
        digests={"a": "b"},
        gradient_max={"a": 0.5},
        metrics_position=9,
        seconds=1.25,
    )
