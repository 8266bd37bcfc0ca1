"""A process of its own for one call: its time limit and its end."""

from __future__ import annotations

import pathlib
import threading
import time
from typing import Any

import pytest

from trainer.errors import TrainerError
from trainer.run import apart


def test_a_late_process_is_stopped(tmp_path: pathlib.Path) -> None:
    """The process here does not answer until it is stopped."""
    (tmp_path / "sleeper.py").write_text(
        "import sys, time\ntime.sleep(60)\n", encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        began = time.monotonic()
        with pytest.raises(apart.OutOfTimeError):
            apart.ask("sleeper", None, limit_seconds=0.5)
        assert time.monotonic() - began < 30
    with pytest.raises(TrainerError, match="its process exited with status 1"):
        apart.ask("no_such_module", None)


def test_a_limit_of_many_years_is_no_error() -> None:
    """1e9 minutes, in which a caller may express that there is no limit."""
    errors: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", errors.append)
        with pytest.raises(TrainerError, match="exited with status 1"):
            apart.ask("no_such_module", None, limit_seconds=6e10)
    assert errors == []
