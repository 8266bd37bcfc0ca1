"""The chart of a search."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.search import chart
from trainer.search.row import DONE, Row


def row(name: str, **values: Any) -> Row:
    """Returns a finished run of a hundred validation samples."""
    fields = {"length": "1", "values": {}, "accuracy": 0.5, **values}
    return Row(
        key=name,
        name=name,
        stage="finetune",
        flags={},
        state=DONE,
        seconds=1.0,
        examples=100,
        **fields,
    )


def pixels(image: bytes, colour: tuple[int, ...]) -> int:
    """Returns the number of pixels of a colour."""
    array = np.array(Image.open(io.BytesIO(image)).convert("RGB"))
    return int((array == colour).all(axis=-1).sum())


def test_shorter_runs_are_grey() -> None:
    """The second of two runs, once of all epochs and once of a quarter."""
    default = row("default")
    blue, grey = (0x00, 0x72, 0xB2), (0x66, 0x66, 0x66)
    full, short = (
        chart.draw([default, row("1", length=length)], default)
        for length in ("1", "1/4")
    )
    # A line of some hundred pixels changes its colour.
    assert pixels(full, blue) - pixels(short, blue) > 100
    assert pixels(short, grey) - pixels(full, grey) > 100


def test_a_row_adds_height_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chart, "_MAX_ROWS", 3)
    default = row("default")
    heights = [
        Image.open(io.BytesIO(chart.draw([default] * count, default))).height
        for count in (1, 3, 5)
    ]
    # 0.26 inches of 120 px for each row, rounded down.
    assert heights == [199, 261, 261]
