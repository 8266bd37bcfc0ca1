"""Runs with mixing, erasing and dropout: resumed, on replicas, compiled."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tests.support.runs import (
    FINISHED,
    assert_same_runs,
    stopped_after,
    train,
    weights,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]
MIXED: dict[str, Any] = {
    **FINISHED,
    "stage": "finetune",
    "mix": "mixup:0.4",
    "erasing": 0.5,
    "dropout": 0.25,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "xla": "off",
}


@pytest.fixture(scope="module")
def straight(photos: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns the workdir and the result of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("mixed") / "straight"
    return workdir, train(photos, workdir, **MIXED)


def assert_near(one: pathlib.Path, two: pathlib.Path) -> None:
    """Checks that the weights of two runs differ by rounding only."""
    first, second = weights(one, "finetune"), weights(two, "finetune")
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_allclose(
            first[key], second[key], atol=2e-5, rtol=1e-3, err_msg=key
        )


def test_a_stopped_run_resumes_bit_identically(
    photos: str, straight: Any, tmp_path: pathlib.Path
) -> None:
    """Also without a cache of images and with other calls of the graph."""
    again = tmp_path / "again"
    values = {**MIXED, "checkpoint_every_steps": 2, "decode_cache": False}
    values |= {"steps_per_loop": 2}
    with stopped_after(5):
        train(photos, again, **values)
    resumed = train(photos, again, **values)
    assert_same_runs((again, resumed), straight)


@pytest.mark.parametrize(
    "values",
    [{"trunk_engine": "step", "augment_kernel": "gather"},
     {"trunk_engine": "device"}],
    ids=str,
)  # fmt: skip
def test_engines_and_kernels_train_alike(
    photos: str, straight: Any, tmp_path: pathlib.Path, values: dict[str, Any]
) -> None:
    train(photos, tmp_path / "other", **{**MIXED, **values})
    assert_near(straight[0], tmp_path / "other")


def test_dropout_reads_cached_views_and_features(
    photos: str, tmp_path: pathlib.Path
) -> None:
    """Cached views give the bits of a run that augments in each epoch."""
    values = {
        **FINISHED,
        "stage": "feature_extract",
        "epochs": 2,
        "dropout": 0.5,
        "trunk_engine": "graph",
    }
    del values["unfreeze"], values["head_epochs"]
    found = {
        name: train(photos, tmp_path / name, **values, **more)
        for name, more in {
            "images": {},
            "views": {"head_views": 2},
            "features": {"augment": "off"},
            "uncached": {"augment": "off", "cache": "off"},
        }.items()
    }
    for one, two in (("images", "views"), ("features", "uncached")):
        first, second = (
            weights(tmp_path / n, "feature_extract") for n in (one, two)
        )
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
    assert found["images"]["test_loss"] != found["features"]["test_loss"]
