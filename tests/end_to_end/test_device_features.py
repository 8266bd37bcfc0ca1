"""Runs whose features are computed on the step's devices, and cached."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.cached_runs import TINY, forget, tiny_runs_without_rows
from tests.support.photos import make_photos
from tests.support.runs import (
    assert_same_arrays,
    assert_same_runs,
    copied_after,
    train,
    weights,
)
from trainer.learning.inputs import Inputs
from trainer.model.trunk import device

XLA = {"xla": "on"}
BFLOAT16 = {"precision": "bfloat16"}
MIRRORED = {"strategy": "mirrored", "logical_cpus": 2}
# What the devices compute with, and the largest difference from the step, as
# a part of the way that the weights travelled.
WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "xla bfloat16": ({**XLA, **BFLOAT16}, 0.05),
    "device mirrored": ({"trunk_engine": "device", **MIRRORED}, 1e-3),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny_runs_without_rows(monkeypatch):
        yield


def run(photos: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    forget()
    cache = str(workdir.parent / "cache")
    return train(photos, workdir, **{**TINY, "cache_dir": cache, **values})


def engines(workdir: pathlib.Path) -> set[str]:
    """Returns the engines that config.json records."""
    stored = json.loads((workdir / "config.json").read_text())
    return {facts["engine"] for facts in stored["trunks"].values()}


def apart(one: pathlib.Path, two: pathlib.Path) -> float:
    """Returns the distance of two ends, as a part of the way of the first."""
    start = weights(one, "feature_extract")
    ends = [weights(path, "finetune") for path in (one, two)]
    keys = [k for k in start if k in ends[0] and k.startswith("model/")]
    moved = [k for k in keys if np.any(start[k] != ends[0][k])]
    assert len(moved) > 4

    def norm(a: dict[str, Any], b: dict[str, Any]) -> float:
        return float(np.sqrt(sum(np.sum((a[k] - b[k]) ** 2) for k in moved)))

    return norm(*ends) / norm(start, ends[0])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_features_are_cached_and_those_of_the_step(
    photos: str, tmp_path: pathlib.Path, way: str
) -> None:
    values, bound = WAYS[way]
    values = {**values, "augment": False}
    cached = run(photos, tmp_path / "cached", **values)
    assert engines(tmp_path / "cached") == {"device"}
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: Any) -> None:
            raise AssertionError("rows are computed again")

        patch.setattr(Inputs, "_blocks", fail)
        patch.setattr(device.DeviceTrunk, "__init__", fail)
        again = run(photos, tmp_path / "again", **values)
    one = tmp_path / "cached", cached
    assert_same_runs((tmp_path / "again", again), one)
    if "xla" not in values:
        # Computed in batches of another size, which changes the last bits on
        # some processors.
        run(photos, tmp_path / "off", **values, cache="off")
        assert apart(tmp_path / "off", tmp_path / "cached") < 1e-5
    step = {**values, "trunk_engine": "step"}
    plain = run(photos, tmp_path / "step", **step)
    assert plain["test_examples"] == cached["test_examples"] == 12
    assert cached["test_loss"] == pytest.approx(plain["test_loss"], rel=bound)
    assert apart(tmp_path / "step", tmp_path / "cached") < bound


@pytest.mark.slow
def test_augmented_training_is_that_of_the_step(
    photos: str, tmp_path: pathlib.Path
) -> None:
    """The weights are bit-identical; validation reads cached features."""
    values = {**XLA, "head_epochs": 0}
    found = {
        engine: run(photos, tmp_path / engine, **values, trunk_engine=engine)
        for engine in ("device", "step")
    }
    assert_same_arrays(
        *(weights(tmp_path / engine, "finetune") for engine in found)
    )
    losses = [result["test_loss"] for result in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert engines(tmp_path / "device") == {"device"}


@pytest.mark.slow
def test_a_resumed_run_keeps_its_engine_under_xla(
    photos: str, tmp_path: pathlib.Path
) -> None:
    values = {**XLA, "augment": False, "checkpoint_every_steps": 2}
    values |= {"head_epochs": 0}
    with copied_after(2, tmp_path / "again"):
        whole = run(photos, tmp_path / "whole", **values, trunk_engine="step")
    again = run(photos, tmp_path / "again", **values)
    assert_same_runs((tmp_path / "again", again), (tmp_path / "whole", whole))


@pytest.mark.slow
def test_a_device_that_fails_falls_back_to_graph(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("cannot run on GPU:0 (why)")

    monkeypatch.setattr(device.DeviceTrunk, "__init__", fail)
    values = {"stage": "feature_extract", "augment": False, "unfreeze": None}
    values = {k: v for k, v in values.items() if v is not None}
    run(photos, tmp_path / "run", **values, trunk_engine="device")
    assert engines(tmp_path / "run") == {"graph"}
    events = (tmp_path / "run/events.jsonl").read_text()
    assert "the frozen part cannot run on GPU:0 (why); falling" in events
