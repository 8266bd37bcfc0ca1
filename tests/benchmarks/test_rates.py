"""The benchmark of the input pipeline: its arithmetic, and a small run."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import input_rate
from tests.photos import make_photos


def test_rates_by_both_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two rounds: 3 s and 2 s by the clock, 1 s and 4 s of processors.
    clock, processor = iter([0.0, 3.0, 10.0, 12.0]), iter([0.0, 1.0, 2.0, 6.0])
    monkeypatch.setattr(input_rate.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        input_rate.time, "process_time", lambda: next(processor)
    )
    assert input_rate.measure(lambda: 12, 2) == [(4.0, 12.0), (6.0, 3.0)]


def test_it_reads_and_checks_on_the_cores_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys
) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(input_rate.os, "sched_getaffinity", lambda _: {3, 1, 2})
    monkeypatch.setattr(
        input_rate.os, "sched_setaffinity", lambda _, cores: asked.append(cores)
    )
    photos = make_photos(tmp_path / "p", train=5)
    said = ["--image_size=32", "--batch_size=4", "--steps=2", "--rounds=3"]
    monkeypatch.setattr(
        sys, "argv", ["x", f"--dataset={photos}", "--cores=2", *said]
    )
    input_rate.main()
    assert asked == [[1, 2]]
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("15 pictures of ") and ", 2 cores, batch 4" in head
    pattern = r"(input|check) +\d+\.\d images/s by .*, 3 rounds\)"
    assert len(lines) == 4
    for line in lines:
        found = re.fullmatch(pattern, line)
        assert found and float(line.split()[1]) > 0
