"""Frozen weights are stored once, and checkpoints need them."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.stage import DATA, Stage, assert_equal, cut, flip
from trainer.errors import TrainerError
from trainer.learning.restoring import restore_variables

FROZEN = "checkpoints/frozen/weights/ckpt-0"


def model_keys(prefix: str | pathlib.Path) -> set[str]:
    """Returns the keys of the model's variables in a checkpoint."""
    names = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    return {
        name.removeprefix("model/").partition("/.ATTR")[0].replace(".S", "/")
        for name in names
        if name.startswith("model/")
    }


def names(prefix: str | pathlib.Path) -> list[str]:
    """Returns the names of everything in a checkpoint."""
    reader = tf.train.load_checkpoint(str(prefix))
    return list(reader.get_variable_to_shape_map())


def test_a_checkpoint_has_what_the_stage_trains(tmp_path):
    stage = Stage(tmp_path)
    trained = set(stage.state.gradient_max)
    assert trained
    stage.step()
    stage.checkpoints.save(best=True)
    assert model_keys(tmp_path / FROZEN) == set(stage.variables) - trained
    for which in ("last", "best"):
        assert model_keys(stage.path(which)) == trained
    # Nothing is trained on from the best one.
    assert any(n.startswith("slots/") for n in names(stage.path("last")))
    assert not any(n.startswith("slots/") for n in names(stage.path("best")))


def test_all_layers_trained_leave_only_statistics_frozen(tmp_path):
    stage = Stage(tmp_path, unfreeze="all")
    stage.checkpoints.save()
    stored = {key.rpartition("/")[2] for key in model_keys(tmp_path / FROZEN)}
    assert stored == {"moving_mean", "moving_variance"}


def test_a_restored_stage_has_the_stored_frozen_weights(tmp_path):
    stage = Stage(tmp_path)
    stage.step()
    stage.checkpoints.save(best=True)
    for restore in (
        lambda other: other.checkpoints.restore(),
        lambda other: restore_variables(stage.path("best"), other.variables),
    ):
        other = Stage(tmp_path, seed=9)
        restore(other)
        for key, variable in stage.variables.items():
            np.testing.assert_array_equal(variable, other.variables[key])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), r"checkpoints/frozen with the frozen"),
        (lambda path: cut(str(path), 0.6), "ckpt-0: cannot be read"),
        (lambda path: flip(str(path.with_suffix(DATA))), "ckpt-0"),
    ],
    ids=["missing", "truncated", "flipped"],
)
def test_damaged_frozen_weights_are_one_line(tmp_path, damage, reason):
    stage = Stage(tmp_path)
    stage.checkpoints.save()
    other = Stage(tmp_path)
    damage(tmp_path / f"{FROZEN}.index")
    for restore in (
        other.checkpoints.restore,
        lambda: restore_variables(stage.path(), other.variables),
    ):
        with pytest.raises(TrainerError, match=reason) as error:
            restore()
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(
            "; restore it, or start in another --workdir"
        )


def test_frozen_weights_of_another_run_are_refused(tmp_path):
    stage = Stage(tmp_path / "one")
    stage.checkpoints.save()
    Stage(tmp_path / "two", seed=9)
    for suffix in (DATA, ".index"):
        path = tmp_path / "two" / f"{FROZEN}{suffix}"
        (tmp_path / "one" / f"{FROZEN}{suffix}").write_bytes(path.read_bytes())
    with pytest.raises(TrainerError, match=r" is not that of .*/ckpt-0; "):
        Stage(tmp_path / "one").checkpoints.restore()


def test_a_kill_while_they_are_written_is_repaired(tmp_path):
    Stage(tmp_path)
    (tmp_path / f"{FROZEN}.index").unlink()
    (tmp_path / f"{FROZEN}_temp").mkdir()
    (tmp_path / f"{FROZEN}_temp" / "part").write_bytes(b"half")
    stage = Stage(tmp_path)
    stage.checkpoints.save()
    assert not (tmp_path / f"{FROZEN}_temp").exists()
    other = Stage(tmp_path, seed=9)
    other.checkpoints.restore()
    assert_equal(stage.arrays(), other.arrays())
