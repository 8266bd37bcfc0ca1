"""Runs that say how long they take, from the times of earlier ones."""

from __future__ import annotations

import pathlib

import pytest

from tests.support.photos import make_photos
from tests.support.runs import TINY, train
from tests.support.tiny import use_tiny_backbone

LINE = "time: under a minute, from earlier runs on this machine"


@pytest.mark.slow
def test_the_second_run_says_how_long_it_takes(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos", train=12)
    flags = {**TINY, "stage": "feature_extract", "augment": False}
    flags |= {"epochs": 2, "cache_dir": str(tmp_path / "cache")}
    said = []
    for name, changes in (
        ("first", {}),
        ("second", {"learning_rate": 0.01}),
        ("off", {"cache": "off"}),
    ):
        train(photos, tmp_path / name, **flags, **changes)
        said.append(capsys.readouterr().out.splitlines())
    first, second, off = said
    assert LINE not in first
    assert second[second.index(LINE) - 1].startswith("disk: ")
    assert LINE not in off
