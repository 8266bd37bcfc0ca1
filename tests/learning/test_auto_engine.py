"""The engine that --trunk_engine=auto chooses."""

from __future__ import annotations

import pytest

from trainer.learning.stage_trunk import auto_engine


@pytest.mark.parametrize(
    ("images", "graph_only", "expected"),
    [
        (0, False, "graph"),
        (499, False, "graph"),
        (500, False, "litert"),
        (500, True, "graph"),
        (10**7, True, "graph"),
    ],
)
def test_auto_uses_litert_for_many_images(
    images: int, graph_only: bool, expected: str
) -> None:
    assert auto_engine(images, graph_only=graph_only) == expected
