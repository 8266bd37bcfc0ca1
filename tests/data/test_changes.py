"""Images that change after they were checked."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest

from tests.support.manifests import build
from tests.support.photos import make_photos
from tests.support.runs import TINY, lines, train
from tests.support.tiny import use_tiny_backbone
from trainer.data.changes import changed_files
from trainer.errors import TrainerError
from trainer.learning.loop import StageLoop
from trainer.run.stages import TrainingRun


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(make_photos(tmp_path / "photos", train=4, test=3))


def touch(path: pathlib.Path) -> None:
    os.utime(path, (9, 9))


def other_content(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def truncated(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


CHANGES: dict[str, Callable[[pathlib.Path], None]] = {
    "other content": other_content,
    "truncated": truncated,
    "other time": touch,
    "removed": pathlib.Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_named(photos: pathlib.Path, change: str) -> None:
    manifest = build(photos, data_pct=100)
    assert changed_files(manifest) == []
    first = pathlib.Path(manifest.train.paths[0])
    last = pathlib.Path(manifest.final.paths[-1])
    for path in (first, last):
        CHANGES[change](path)
    assert changed_files(manifest) == sorted([str(first), str(last)])


def test_changed_files_of_a_validation_split_are_named(
    photos: pathlib.Path,
) -> None:
    shutil.copytree(photos / "test", photos / "val")
    manifest = build(photos, data_pct=100)
    path = manifest.validation.paths[0]
    assert path.startswith(str(photos / "val"))
    touch(pathlib.Path(path))
    assert changed_files(manifest) == [path]


def test_changes_of_unused_files_are_ignored(
    photos: pathlib.Path,
) -> None:
    manifest = build(photos, data_pct=25)
    (unused, *_) = set(manifest.splits["train"].samples.paths) - set(
        manifest.train.paths
    )
    other_content(pathlib.Path(unused))
    assert changed_files(manifest) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "change"), [("graph", "other content"), ("step", "truncated")]
)
def test_a_changed_image_is_not_cached(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    engine: str,
) -> None:
    """Features or pixels must not be cached under the old digest."""
    use_tiny_backbone(monkeypatch)
    (image, *_) = sorted(photos.glob("train/*/*.jpg"))
    real = TrainingRun.run

    def run(self: TrainingRun) -> None:
        CHANGES[change](image)
        real(self)

    monkeypatch.setattr(TrainingRun, "run", run)
    cache = tmp_path / "cache"
    with pytest.raises(TrainerError) as caught:
        train(
            str(photos),
            tmp_path / "run",
            **TINY,
            stage="feature_extract",
            augment=False,
            trunk_engine=engine,
            cache="disk",
            cache_dir=str(cache),
        )
    assert str(caught.value).startswith(f"{image}: changed after the images")
    assert "\n" not in str(caught.value)
    for segment in cache.glob("*/*/rows-*/segment.json"):
        # Rows of validation and test, computed before the change.
        assert len(json.loads(segment.read_text())["digests"]) <= 9


@pytest.mark.slow
def test_files_that_change_during_a_run_cause_a_warning(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_tiny_backbone(monkeypatch)
    (image, *_) = sorted(photos.glob("train/*/*.jpg"))
    real = StageLoop.run

    def run(self: StageLoop) -> object:
        outcome = real(self)
        touch(image)
        return outcome

    monkeypatch.setattr(StageLoop, "run", run)
    values = {**TINY, "stage": "feature_extract"}
    result = train(str(photos), tmp_path / "run", **values)
    assert result["changed_files"] == [str(image)]
    warnings = [
        line["text"]
        for line in lines(tmp_path / "run", "events.jsonl")
        if line["event"] == "warning"
    ]
    assert [w for w in warnings if "changed during the run" in w] == [
        f"files of the data set changed during the run (1, such as {image}):"
        " the results may come from the old images or from the new ones; to be"
        " sure, train again in a new --workdir"
    ]
