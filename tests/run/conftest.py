"""A small trained run that several modules use."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.support.photos import make_photos
from tests.support.runs import TINY, train
from tests.support.tiny import use_tiny_backbone


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of photos that the run was trained on."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="package")
def trained(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """The workdir and result of a run of the tiny backbone."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    values = {**TINY, "stage": "feature_extract", "epochs": 12}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        return workdir, train(photos, workdir, **values, learning_rate=0.02)
