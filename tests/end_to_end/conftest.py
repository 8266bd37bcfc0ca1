"""One finished run of the tiny backbone, shared by the tests of whole runs."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.photos import make_photos
from tests.support.runs import FINISHED, train
from tests.support.tiny import use_tiny_backbone


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of 24 images to train on and 15 to test on."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def finished(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """The workdir and result of a finetune with its own feature_extract."""
    workdir = tmp_path_factory.mktemp("finished") / "finetune"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        return workdir, train(photos, workdir, **FINISHED)


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    """Makes all tests of a module build the tiny backbone."""
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield
