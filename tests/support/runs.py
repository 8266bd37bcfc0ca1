"""Small whole runs inside the process of the test."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import live_classifier
from trainer.config import Config
from trainer.learning.checkpoints import StageCheckpoints
from trainer.model.weights.frozen import FOLDER, frozen_prefix
from trainer.run import training

# Fields of a run of the tiny backbone, for `small` and `train`.
TINY = {"backbone_args": "", "weights": "none"}
# The run of the fixture `finished`; conv3, bn3 and relu3 train.
FINISHED = {**TINY, "epochs": 2, "head_epochs": 2, "unfreeze": "last:3"}


class StopError(Exception):
    """Raised by a test to end a run early."""


@contextlib.contextmanager
def stopped_after(saves: int) -> Iterator[None]:
    """A block that trains and is stopped right after its n-th save."""
    real, count = StageCheckpoints.save, 0

    def save_then_stop(self: StageCheckpoints, **kinds: Any) -> str:
        nonlocal count
        path = real(self, **kinds)
        count += 1
        if count == saves:
            raise StopError
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", save_then_stop)
        with pytest.raises(StopError):
            yield


@contextlib.contextmanager
def copied_after(saves: int, copy: pathlib.Path) -> Iterator[None]:
    """A block that trains; its workdir is copied right after the n-th save.

    The copy is what a kill at that moment leaves behind.
    """
    real, count = StageCheckpoints.save, 0

    def save_then_copy(self: StageCheckpoints, **kinds: Any) -> str:
        nonlocal count
        path = real(self, **kinds)
        count += 1
        if count == saves:
            shutil.copytree(self._workdir.path, copy)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", save_then_copy)
        yield
    assert count > saves


@functools.cache
def live_weights() -> str:
    """Returns a file of weights of a random backbone with live features."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = f"{folder}/live.weights.h5"
    live_classifier("MobileNetV2", num_classes=2).backbone.save_weights(path)
    return path


def small(dataset: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    """Returns the fields of a small run of MobileNetV2."""
    return {
        "dataset": dataset,
        "workdir": str(workdir),
        "backbone": "MobileNetV2",
        "backbone_args": "alpha=0.35",
        # Built only if they are used, because that takes seconds.
        "weights": values.get("weights") or live_weights(),
        "image_size": 32,
        "batch_size": 8,
        "epochs": 1,
        "head_epochs": 1,
        "log_every_steps": 1,
        **values,
    }


def train(dataset: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    """Trains to the end and returns result.json."""
    training.train(Config(**small(dataset, workdir, **values)))
    return json.loads((workdir / "result.json").read_text())


def weights(workdir: pathlib.Path, stage: str, kind: str = "last") -> dict:
    """Returns the arrays of model and slots in a stage's checkpoint."""
    path = tf.train.latest_checkpoint(
        str(workdir / "checkpoints" / stage / kind)
    )
    return saved_arrays(path)


def saved_arrays(path: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint and of the run's frozen weights."""
    arrays = {}
    for prefix in filter(None, (frozen_prefix(path), path)):
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        arrays |= {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name.startswith(("model/", "slots/", "weights/", "averaged/"))
        }
    return arrays


def lines(workdir: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """Returns the lines of a .jsonl file without their times."""
    found = []
    for text in (workdir / name).read_text().splitlines():
        line = json.loads(text)
        line.pop("times", None)
        line.pop("time", None)
        found.append(line)
    return found


def assert_same_arrays(one: dict, two: dict) -> None:
    """Checks that both hold the same arrays, bit for bit."""
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    """Returns result.json without its times."""
    earlier = [
        {k: v for k, v in stage.items() if k != "train_seconds"}
        for stage in result.get("earlier_stages", [])
    ]
    return {**result, "train_seconds": 0, "earlier_stages": earlier}


def assert_same_runs(
    one: tuple[pathlib.Path, dict], two: tuple[pathlib.Path, dict]
) -> None:
    """Checks that two workdirs with their results are bit-identical.

    That is weights and slots of all stages, metrics, predictions and
    result.json.
    """
    stages, others = (
        {p.name for p in (workdir / "checkpoints").iterdir()} - {FOLDER}
        for workdir, _ in (one, two)
    )
    assert stages == others
    for stage in sorted(stages):
        assert_same_arrays(weights(one[0], stage), weights(two[0], stage))
    assert lines(one[0], "metrics.jsonl") == lines(two[0], "metrics.jsonl")
    assert untimed(one[1]) == untimed(two[1])
    name = "predictions.csv"
    assert (one[0] / name).read_bytes() == (two[0] / name).read_bytes()
