"""Whole runs of the tiny backbone whose trunk is cut off and cached."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.tiny import use_tiny_backbone
from trainer.run import caches

STAGES = ("feature_extract", "finetune")
# Of the ten layers, conv3 -> bn3 -> relu3 train, and relu2 is the cut.
TINY: Mapping[str, Any] = {
    "stage": "finetune",
    "backbone_args": "",
    "weights": "none",
    "unfreeze": "last:3",
    "epochs": 2,
    "learning_rate": 0.003,
}


def forget() -> None:
    """Drops the rows in memory, like a new process."""
    caches._row_cache.cache_clear()


@contextlib.contextmanager
def tiny_runs_without_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wraps a block that trains the tiny backbone without earlier rows."""
    use_tiny_backbone(monkeypatch)
    forget()
    yield
    forget()
