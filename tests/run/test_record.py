"""The record of a run in config.json."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import pytest

from trainer.config import Config
from trainer.run import record
from trainer.run.resolve import resolve
from trainer.train.start import Start
from trainer.workdir import CONFIG, Workdir


def test_a_finetune_keeps_the_record_of_the_feature_extract(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_machine_facts", lambda *given: {})
    workdir = Workdir(str(tmp_path))
    manifest: Any = types.SimpleNamespace(
        shared_content=(),
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
