"""When the processes of a probe start."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from trainer.probe import child


def test_no_process_starts_while_a_speed_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Fake:
        def __init__(self, module: str) -> None:
            events.append("start")

        def ask(self, job: Any) -> dict[str, Any]:
            events.append(f"ask {job.key}")
            return {}

        def kill(self) -> None:
            events.append("kill")

    monkeypatch.setattr(child.apart, "Process", Fake)
    monkeypatch.setattr(child, "row_from_json", lambda answer: answer)
    job: Any = dataclasses.make_dataclass("Job", ["key", "measured"])
    with child.Processes(4) as processes:
        for key, measured in (("a", False), ("b", True), ("c", False)):
            processes.measure(job(key, measured))
    assert events == [
        *("start", "ask a", "start"),
        *("start", "ask b"),
        *("ask c", "start", "kill"),
    ]
