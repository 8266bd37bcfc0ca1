"""Runs with mixing, erasing and dropout, by several engines and caches.

The module test_promises resumes such runs, and compiles them for replicas.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tests.support.runs import (
    FINISHED,
    train,
    weights,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]
MIXED: dict[str, Any] = {
    **FINISHED,
    "stage": "finetune",
    "head_epochs": 0,
    "mix": "mixup:0.4",
    "erasing": 0.5,
    "dropout": 0.25,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "xla": "off",
}


@pytest.fixture(scope="module")
def graph(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """Returns the workdir of a run whose frozen layers run as a graph."""
    workdir = tmp_path_factory.mktemp("mixed") / "graph"
    train(photos, workdir, **MIXED, trunk_engine="graph")
    return workdir


def assert_near(one: pathlib.Path, two: pathlib.Path) -> None:
    """Checks that the weights of two runs differ by rounding only."""
    first, second = weights(one, "finetune"), weights(two, "finetune")
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_allclose(
            first[key], second[key], atol=2e-5, rtol=1e-3, err_msg=key
        )


@pytest.mark.parametrize(
    "values",
    [{"trunk_engine": "step", "augment_kernel": "gather"},
     {"trunk_engine": "device"}],
    ids=str,
)  # fmt: skip
def test_engines_and_kernels_train_alike(
    photos: str,
    graph: pathlib.Path,
    tmp_path: pathlib.Path,
    values: dict[str, Any],
) -> None:
    train(photos, tmp_path / "other", **{**MIXED, **values})
    assert_near(graph, tmp_path / "other")


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
