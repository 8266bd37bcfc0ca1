"""The start and the end of a training run."""

from __future__ import annotations

import errno
import os
import pathlib
import signal
import types
from typing import Any

import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.runs import lines, small
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.interrupt import Stopped
from trainer.run import training
from trainer.run.resolve import resolve
from trainer.run.stages import TrainingRun
from trainer.storage import files
from trainer.workdir import CONFIG, Workdir


@pytest.fixture
def config(tmp_path, monkeypatch):
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos")
    fields = small(photos, tmp_path / "run", backbone_args="", weights="none")
    return Config(**{**fields, "stage": "feature_extract"})


def test_a_mistyped_dataset_leaves_no_workdir(tmp_path):
    workdir = tmp_path / "run"
    fields = {"dataset": "no_such_data", "workdir": str(workdir)}
    with pytest.raises(TrainerError, match="neither a folder nor a TFDS name"):
        training.train(Config(**fields, weights="none"))
    assert not workdir.exists()


def test_an_existing_workdir_is_not_removed(tmp_path):
    fields = {"dataset": "no_such_data", "workdir": str(tmp_path)}
    with pytest.raises(TrainerError):
        training.train(Config(**fields, weights="none"))
    assert os.path.isdir(tmp_path)


def test_an_image_that_vanishes_is_one_line(config, monkeypatch):
    def vanish(self):
        raise tf.errors.NotFoundError(
            None, None, "a/b.jpg; No such file or directory [[{{node x}}]]\nat"
        )

    monkeypatch.setattr(TrainingRun, "run", vanish)
    with pytest.raises(TrainerError) as error:
        training.train(config)
    assert str(error.value) == (
        "feature_extract: a/b.jpg; No such file or directory; fix the cause,"
        " and the same command resumes from the last checkpoint"
    )
    last = lines(pathlib.Path(config.workdir), "events.jsonl")[-1]
    assert last == {"event": "stop", "reason": "NotFoundError"}


def test_raised_epochs_are_said() -> None:
    config = resolve(Config(dataset="d", epochs=2, head_epochs=5), 8)
    before = config.stages()
    after = tuple(spec.at_least(12, 3) for spec in before)
    assert training.raised_lines(before, after, 12) == [
        "--min_steps=12: 4 epochs of finetune, not 2"
    ]


@pytest.mark.parametrize(
    "reason",
    [
        TrainerError("step 6 cannot be saved; free some space"),
        Stopped(signal.SIGTERM),
        tf.errors.ResourceExhaustedError(None, None, "no memory"),
    ],
    ids=lambda reason: type(reason).__name__,
)
def test_a_full_disk_does_not_hide_why_a_run_stops(config, monkeypatch, reason):
    def stop(self):
        monkeypatch.setattr(files, "append_text", full)
        raise reason

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(TrainingRun, "run", stop)
    expected = TrainerError if isinstance(reason, Exception) else Stopped
    with pytest.raises(expected) as error:
        training.train(config)
    words = {"Stopped": "SIGTERM", "ResourceExhaustedError": "no memory"}
    assert words.get(type(reason).__name__, "step 6") in str(error.value)


@pytest.mark.parametrize(
    ("augment", "images"),
    # Without augmentation, features of an image are computed once.
    [(True, 10 * (2 + 5) + 3 + 4), (False, 10 + 3 + 4)],
)
def test_the_engine_depends_on_the_images_of_the_whole_run(
    tmp_path, monkeypatch, augment, images
):
    monkeypatch.setattr(training, "fast_paths", lambda *_, **given: given)
    config = resolve(
        Config(dataset="d", epochs=5, head_epochs=2, augment=augment), 8
    )
    setup: Any = types.SimpleNamespace(
        config=config, runtime=types.SimpleNamespace(strategy=None)
    )
    manifest: Any = types.SimpleNamespace(
        train=range(10), validation=range(3), final=range(4)
    )
    workdir = Workdir(str(tmp_path))
    given = {"images": images, "earlier": None}
    assert training.choose_fast_paths(setup, workdir, manifest) == given
    workdir.write_json(CONFIG, {"environment": {"trunk_engine": "litert"}})
    given["earlier"] = "litert"
    assert training.choose_fast_paths(setup, workdir, manifest) == given
