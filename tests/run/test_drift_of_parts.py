"""Tests of drift between two values of --unfreeze with parts."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.run.drift import differences


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        pytest.param(
            {"unfreeze": "none@1,all@2", "epochs": 3},
            {"unfreeze": "none@1,all@4", "epochs": 5},
            [],
            id="the last part may grow",
        ),
        pytest.param(
            {"unfreeze": "none@1,all@2", "epochs": 3},
            {"unfreeze": "none@1,all@4", "epochs": 5, "schedule": "cosine"},
            [
                "--unfreeze was 'none@1,all@2', is 'none@1,all@4', and the"
                " learning rates depend on it"
            ],
            id="the last part may not grow with a schedule",
        ),
        pytest.param(
            {"unfreeze": "none@1,all@4", "epochs": 5},
            {"unfreeze": "none@1,all@2", "epochs": 3},
            ["--unfreeze was 'none@1,all@4', is 'none@1,all@2'"],
            id="the last part may not shrink",
        ),
        pytest.param(
            {"unfreeze": "none@1,all@4", "epochs": 5},
            {"unfreeze": "none@2,all@4", "epochs": 6},
            ["--unfreeze was 'none@1,all@4', is 'none@2,all@4'"],
            id="an earlier part may not grow",
        ),
        pytest.param(
            {"unfreeze": "none@1,all@4", "epochs": 5},
            {"unfreeze": "none@1,all@4,all@1", "epochs": 6},
            ["--unfreeze was 'none@1,all@4', is 'none@1,all@4,all@1'"],
            id="no part may be added",
        ),
        pytest.param(
            {"unfreeze": "all", "epochs": 5},
            {"unfreeze": "none@1,all@5", "epochs": 6},
            ["--unfreeze was 'all', is 'none@1,all@5'"],
            id="one part may not become two",
        ),
        pytest.param(
            {"unfreeze": "@@,", "epochs": 5},
            {"unfreeze": "all", "epochs": 5},
            ["--unfreeze was '@@,', is 'all'"],
            id="damaged parts",
        ),
    ],
)
def test_the_last_part_alone_may_grow(
    stored: dict[str, Any], asked: dict[str, Any], found: list[str]
) -> None:
    assert differences(stored, asked) == found
