"""Tests that randomly damaged files are read, or refused in one line."""

from __future__ import annotations

import json
import pathlib
import random
import time

import pytest

from tests.support.damage import mutated
from tests.support.stage import METRICS
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.storage import files
from trainer.workdir import MARKER, Workdir
from trainer.workdir.holder import this_process
from trainer.workdir.lock import locked
from trainer.workdir.stored import stored_config

# The content of an undamaged file of each name.
WHOLE: dict[str, str] = {
    "config.json": json.dumps(
        {
            "config": Config(stage="finetune").to_json(),
            "runs": {"finetune": {"seed": 0}},
            "environment": {"xla": "off"},
            "trunks": {"finetune": {"cut": ["a"]}},
        }
    ),
    "manifest.json": json.dumps(
        {"class_names": ["a", "b"], "location": "/photos", "splits": {}}
    ),
    "backbone.json": json.dumps({"architecture": "{}", "pixels": "raw"}),
    "result.json": json.dumps(
        {
            **METRICS,
            "earlier_stages": [],
            "monitor": "loss",
            "best_monitor_value": 0.5,
            "result_checkpoint": "best",
            "stopped_early": {
                "reason": "patience",
                "epoch": 2,
                "mid_epoch": False,
                "epochs": 9,
                "limit": 1,
            },
        }
    ),
    MARKER: json.dumps({"program": "transfer-trainer"}),
    "metrics.jsonl": '{"step": 1, "loss": 2.5}\n' * 5,
    "lock": this_process().to_text(),
}


def _use(folder: pathlib.Path, name: str) -> None:
    """Reads a workdir's file in every way that needs no TensorFlow."""
    workdir = Workdir(str(folder))
    if name == "metrics.jsonl":
        workdir.metrics().lines()
    elif name == "lock":
        with locked(workdir):
            pass
    else:
        found = workdir.read_json(name)
        if name == "config.json" and found and "config" in found:
            stored_config("config.json", found["config"])
    if name != "lock":
        workdir.create()


@pytest.mark.parametrize("name", WHOLE)
def test_randomly_damaged_files_are_read_or_refused(
    tmp_path: pathlib.Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only error is a TrainerError of one line, and nothing hangs."""
    monkeypatch.setattr(files.os, "fsync", lambda fd: None)
    content = WHOLE[name].encode()
    began = time.monotonic()
    refused = []
    for seed in range(500):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / name).write_bytes(mutated(content, random.Random(seed)))
        try:
            _use(folder, name)
        except TrainerError as error:
            refused.append(str(error))
        except Exception as error:
            pytest.fail(f"mutation {seed}: {error!r}")
    assert time.monotonic() - began < 60
    # Undetected mutations would prove nothing.
    assert len(refused) > 50 or name == "lock"
    assert not [text for text in refused if "\n" in text]
