"""The record of a run in config.json."""

from __future__ import annotations

import pathlib
import shutil
import types
from typing import Any

import pytest

from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.config import Config
from trainer.learning.start import Start
from trainer.run import record
from trainer.run.resolve import resolve
from trainer.workdir import CONFIG, Workdir


def test_a_finetune_keeps_the_record_of_the_feature_extract(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "run_facts", lambda *given: {})
    workdir = Workdir(str(tmp_path))
    manifest: Any = types.SimpleNamespace(
        shared_content=(),
        contradictions=(),
        shared_validation=(),
        skipped=(),
        bad_rows=(),
        turned=(),
        to_json=dict,
    )
    for stage in ("feature_extract", "finetune"):
        config = resolve(Config(dataset="d", stage=stage, seed=5), 8)
        setup: Any = types.SimpleNamespace(config=config)
        start = Start(stages=(), why="")
        options: Any = None
        record.record_run(
            workdir, setup, {"of": stage}, manifest, start, options
        )
    stored = workdir.read_json(CONFIG)
    assert stored is not None
    assert stored["runs"] == {
        "feature_extract": {"of": "feature_extract"},
        "finetune": {"of": "finetune"},
    }
    assert (stored["config"]["stage"], stored["config"]["seed"]) == (
        *("finetune", 5),
    )


def test_duplicates_are_counted_and_listed(tmp_path: pathlib.Path) -> None:
    photos = pathlib.Path(make_photos(tmp_path / "photos", train=6, test=3))
    for number in range(3):
        shutil.copy(
            photos / f"train/sushi/{number:03}.jpg",
            photos / f"test/sushi/same{number}.jpg",
        )
    shutil.copy(
        photos / "train/sushi/004.jpg", photos / "train/apple pie/x.jpg"
    )
    workdir = Workdir(str(tmp_path / "run"))
    workdir.create()
    said: list[str] = []
    workdir.warn = said.append  # type: ignore[method-assign]
    record._warn_about_duplicates(workdir, build(photos, data_pct=100))
    listed = tmp_path / "run/duplicates.csv"
    remedy = f"{listed} lists all; --on_duplicate=skip trains without them"
    assert said == [
        "photos of test that are in train too: 3, such as sushi/same0.jpg, the"
        f" same as sushi/000.jpg; {remedy}",
        "photos with several labels: 1, such as train/apple pie/x.jpg, the"
        f" same as train/sushi/004.jpg; {remedy}",
    ]
    assert listed.read_text().splitlines() == [
        "problem,split,id,other_split,other_id",
        *(
            f"other split,train,sushi/00{n}.jpg,test,sushi/same{n}.jpg"
            for n in range(3)
        ),
        "other label,train,apple pie/x.jpg,train,sushi/004.jpg",
    ]
    # A list of earlier data does not stay.
    record._warn_about_duplicates(
        workdir, build(photos, data_pct=100, on_duplicate="skip")
    )
    assert len(listed.read_text().splitlines()) == 2
