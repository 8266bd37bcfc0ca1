"""The inputs of a stage, with what they warned of and reported."""

from __future__ import annotations

from typing import Any

from tests.support.classifiers import TINY_PX
from trainer.cache import FileCache, RowCache
from trainer.learning.inputs import Inputs
from trainer.model.trunk.partition import Partition

OPTIONS: dict[str, Any] = {
    "engine": "graph",
    "block": 4,
    "feature_dtype": "float32",
    "kernel": "projective",
    "decode_cache": True,
    "machine": "this one",
}


class Made:
    """Inputs of tiny images; their warnings and reports are recorded."""

    def __init__(
        self, partition: Partition | None, mode: str, **values: Any
    ) -> None:
        self.warnings: list[str] = []
        self.reports: list[tuple[str, int, int]] = []
        self.inputs = Inputs(
            partition,
            image_px=TINY_PX,
            cache=RowCache(mode=mode, disk=None, ram_bytes=10**8),
            files=FileCache(None),
            warn=self.warnings.append,
            report=lambda *report: self.reports.append(report),
            **{**OPTIONS, **values},
        )
