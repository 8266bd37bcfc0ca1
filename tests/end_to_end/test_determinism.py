"""Tests of --deterministic: the meaning of auto, and repeated runs."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.python.framework import random_seed

from benchmarks.determinism import measure, summary
from tests.support.determinism import is_on, undone
from tests.support.photos import make_photos
from tests.support.runs import small, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.distribute import devices
from trainer.errors import TrainerError, UsageError
from trainer.run import training
from trainer.run.stages import TrainingRun


@pytest.mark.parametrize(
    ("asked", "gpus", "on"),
    [
        ("auto", 0, True),
        ("auto", 1, False),
        ("auto", 2, False),
        ("on", 0, True),
        ("on", 1, True),
        ("off", 0, False),
        ("off", 1, False),
    ],
)
def test_auto_determinism_is_off_on_gpus(monkeypatch, asked, gpus, on):
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["GPU:0"] * gpus
    )
    assert devices.use_determinism(asked) is on


@pytest.mark.parametrize(("asked", "on"), [("on", True), ("off", False)])
def test_determinism_is_set_in_tensorflow(asked, on):
    with undone():
        assert is_on() is False
        devices.configure(logical_cpus=1, deterministic=asked)
        assert is_on() is on


def test_determinism_cannot_be_turned_off_again():
    with undone():
        devices.configure(1, "off")
        devices.configure(1, "on")
        devices.configure(1, "on")
        with pytest.raises(UsageError) as error:
            devices.configure(1, "off")
    assert str(error.value) == (
        "--deterministic=off: this process already runs with on; start a new"
        " one"
    )


def test_an_operation_that_cannot_repeat_names_the_flag(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)

    def fail(self):
        raise tf.errors.UnimplementedError(
            None, None, "A deterministic GPU implementation of X is missing."
        )

    monkeypatch.setattr(TrainingRun, "run", fail)
    photos = make_photos(tmp_path / "photos")
    fields = small(photos, tmp_path / "run", backbone_args="", weights="none")
    with undone(), pytest.raises(TrainerError) as error:
        training.train(Config(**fields, deterministic="on"))
    assert "X is missing.; give --deterministic=off, and" in str(error.value)
    with undone(), pytest.raises(TrainerError, match="; fix the cause, and"):
        training.train(Config(**fields, deterministic="off"))


@pytest.mark.slow
def test_no_operation_uses_the_global_seed(tmp_path, monkeypatch):
    """The global seed would make runs depend on the process."""
    use_tiny_backbone(monkeypatch)
    asked = []
    real = random_seed.get_seed

    def get_seed(op_seed):
        asked.append(op_seed)
        return real(op_seed)

    monkeypatch.setattr(random_seed, "get_seed", get_seed)
    photos = make_photos(tmp_path / "photos")
    with undone():
        train(photos, tmp_path / "run", backbone_args="", weights="none")
    assert asked == []
    tf.random.uniform((), seed=5)
    assert asked == [5]


def test_the_benchmark_alternates_and_reports_ratios():
    turns = []
    with undone():
        seconds = measure(
            {
                True: lambda: turns.append(("on", is_on())),
                False: lambda: turns.append(("off", is_on())),
            },
            rounds=2,
        )
    on, off = ("on", True), ("off", False)
    assert turns == [off, on, on, off]
    assert [len(found) for found in seconds.values()] == [2, 2]
    # Rounds of 2 / 1, 6 / 2 and 8 / 2 by the clock.
    text = summary(
        {
            True: [(2.0, 1.0), (6.0, 1.0), (8.0, 1.0)],
            False: [(1.0, 1.0), (2.0, 1.0), (2.0, 1.0)],
        }
    )
    assert text.startswith(
        "wall 6.000 s with, 2.000 s without, ratio 3.000 (2.000 to 4.000);"
        " processor 1.000 s with"
    )
