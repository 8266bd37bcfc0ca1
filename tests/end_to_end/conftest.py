"""Fixtures of whole runs: a finished run, and the same data at a URL."""

from __future__ import annotations

import functools
import pathlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.photos import make_photos
from tests.support.remote import put
from tests.support.runs import FINISHED, train
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.workdir import lock
from trainer.workdir.heartbeat import HeartbeatTiming


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


@pytest.fixture(scope="module")
def fast_heartbeats() -> Iterator[None]:
    """Shortens the intervals of the locks of remote workdirs."""
    with pytest.MonkeyPatch.context() as patch:
        fast = functools.partial(HeartbeatTiming, beat_secs=0.2, poll_secs=0.01)
        patch.setattr(lock, "HeartbeatTiming", fast)
        yield


@pytest.fixture(scope="module")
def roots(
    tiny: None,
    fast_heartbeats: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The same photos and weights in a local folder and at a URL."""
    local = tmp_path_factory.mktemp("local")
    make_photos(local / "photos", train=6, test=4)
    tiny_backbone().save_weights(local / "tiny.weights.h5")
    remote = f"ram://{uuid.uuid4().hex}"
    put(local, remote)
    return {"remote": remote, "local": str(local)}
