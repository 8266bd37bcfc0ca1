"""Waits for the processes of a probe."""

from __future__ import annotations

import pathlib
import time


def wait_for_child(parent: int) -> int:
    """Returns the id of the process that measures."""
    path = pathlib.Path(f"/proc/{parent}/task/{parent}/children")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child_id in path.read_text().split():
            line = pathlib.Path(f"/proc/{child_id}/cmdline")
            if b"trainer.probe.serve" in line.read_bytes():
                return int(child_id)
        time.sleep(0.05)
    raise AssertionError("no process was started")


def wait_until_gone(process: int) -> None:
    """Waits until a process has ended, at most a minute."""
    deadline = time.monotonic() + 60
    while pathlib.Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
