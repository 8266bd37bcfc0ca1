"""The benchmarks of input pipeline and step: arithmetic and small runs."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import input_rate, step_rate
from tests.support.photos import make_photos
from tests.support.tiny import use_tiny_backbone


def test_rates_by_both_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two rounds: 3 s and 2 s by the clock, 1 s and 4 s of processors.
    clock, processor = iter([0.0, 3.0, 10.0, 12.0]), iter([0.0, 1.0, 2.0, 6.0])
    monkeypatch.setattr(input_rate.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        input_rate.time, "process_time", lambda: next(processor)
    )
    assert input_rate.measure(lambda: 12, 2) == [(4.0, 12.0), (6.0, 3.0)]


@pytest.mark.slow
def test_input_rate_uses_the_given_number_of_cores(
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
    assert head.startswith("15 images of ")
    assert ", 2 cores, batch 4" in head
    pattern = r"(input|check) +\d+\.\d images/s by .*, 3 rounds\)"
    assert len(lines) == 4
    for line in lines:
        found = re.fullmatch(pattern, line)
        assert found
        assert float(line.split()[1]) > 0


@pytest.mark.parametrize(
    "said", [pytest.param([], marks=pytest.mark.slow), ["--evaluate"]]
)
def test_step_rate_counts_trained_parameters(
    monkeypatch: pytest.MonkeyPatch, capsys, said: list[str]
) -> None:
    use_tiny_backbone(monkeypatch)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "x",
            "--backbone=MobileNetV2",
            "--image_size=32",
            "--batch_size=4",
            "--classes=3",
            "--rounds=3",
            *said,
        ],
    )
    step_rate.main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("MobileNetV2, 32 px, batch 4, 3 classes, on ")
    # The head: 17 x 3. All: 3 x 3 x (3 x 8 + 8 x 16 + 16 x 16) weights of
    # convolutions, and gamma and beta of 40 channels.
    assert lines[0].startswith(
        "--unfreeze=none: 51 parameters trained, 0.00 MB"
    )
    assert lines[3].startswith("--unfreeze=all: 3,803 parameters trained, 0.02")
    for line in (*lines[1:3], *lines[4:]):
        assert line.startswith("judge" if said else "train")
        assert float(line.split()[1]) > 0
