"""The message after a signal has stopped the program."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.command import program
from trainer.config import Config


@pytest.mark.parametrize(
    ("values", "resumes"),
    [
        ({"stage": "finetune"}, True),
        ({"stage": "study"}, True),
        # Neither saves anything to go on from.
        ({"stage": "finetune", "dry_run": True}, False),
        ({"stage": "evaluate", "workdir": "w"}, False),
        ({"stage": "predict", "workdir": "w", "inputs": "x"}, False),
        ({"stage": "export", "workdir": "w"}, False),
    ],
)
def test_a_stopped_run_is_told_to_resume_if_it_can(
    values: dict[str, Any], resumes: bool
) -> None:
    text = "; the same command resumes from the last checkpoint"
    assert program._remedy(Config(dataset="d", **values)) == text * resumes
