"""Checkpoints: what is saved is restored bit for bit, and which are kept."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from tests.support.stage import (
    STAGE,
    Stage,
    assert_equal,
)
from trainer.errors import TrainerError
from trainer.learning.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.restoring import restore_variables
from trainer.learning.state import StageState, StateInCheckpoint
from trainer.workdir import Workdir


def test_restore_is_bit_identical(tmp_path):
    stage = Stage(tmp_path)
    for _ in range(3):
        stage.step()
    saved = stage.arrays()
    stage.checkpoints.save()
    stage.overwrite()
    assert all(np.all(saved[k] != v) for k, v in stage.arrays().items())
    assert stage.checkpoints.restore() is True
    assert_equal(stage.arrays(), saved)


def test_a_restored_stage_continues_bit_identically(tmp_path):
    one = Stage(tmp_path)
    one.step()
    one.checkpoints.save()
    other = Stage(tmp_path, seed=9)
    assert other.checkpoints.restore()
    for stage in (one, other):
        stage.step()
    assert_equal(one.arrays(), other.arrays())


def test_restore_brings_back_the_state(tmp_path):
    stage = Stage(tmp_path)
    values = {
        "start_step": 5,
        "step": 8,
        # Neither is a float32.
        "epoch_sums": {"loss": 0.1 + 0.2, "correct": 16777217.0, "count": 7.0},
        "window_sums": {"loss": 1e-30, "correct": 0.0, "count": 1.0},
        "best": {"step": 6, "accuracy": 1 / 3, "loss": 2.0},
        "digests": {**stage.state.digests, "head/kernel": "00ff"},
        "gradient_max": {"head/kernel": 0.1},
        "metrics_position": 2**40,
        "seconds": 1.25,
        "pending_validation": True,
        "rollbacks": 2,
        "monitor": "macro_f1",
        "stopped": "time_limit",
        "run_seconds": 0.1,
    }
    for name, value in values.items():
        setattr(stage.state, name, value)
    stage.checkpoints.save()
    other = Stage(tmp_path)
    other.checkpoints.restore()
    assert vars(other.state) == {"stage": STAGE, **values}


def test_restore_without_a_checkpoint_changes_nothing(tmp_path):
    stage = Stage(tmp_path)
    before = stage.arrays()
    assert stage.checkpoints.restore() is False
    assert_equal(stage.arrays(), before)
    assert find_checkpoint(stage.workdir, STAGE, "best") is None


def test_a_new_learning_rate_overrides_the_stored_one(tmp_path):
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


def test_keep_checkpoints_counts_across_restarts(tmp_path):
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


def test_a_rollback_removes_checkpoints_after_the_boundary(tmp_path):
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


def test_a_rollback_ignores_a_boundary_of_a_later_step(tmp_path):
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


@pytest.mark.slow
def test_restore_works_in_a_new_process(tmp_path):
    stage = Stage(tmp_path / "run")
    for _ in range(2):
        stage.step()
    stage.checkpoints.save()
    script = f"""
        import sys
        import numpy as np
        from tests.support.stage import Stage
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
        ({"monitor": "luck"}, "monitor is not a metric"),
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
