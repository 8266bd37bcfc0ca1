"""A bar on a terminal, plain lines in a file."""

from __future__ import annotations

import io
import re
import sys

from trainer.results.progress import ConsoleProgress


class Stream(io.StringIO):
    """Keeps what is written, and says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def show(monkeypatch, terminal: bool, done: int = 0) -> str:
    """Two epochs of 96 pictures, each of three calls."""
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "100")
    progress = ConsoleProgress(96)
    for epoch in (1, 2):
        progress.epoch("finetune", epoch, 2, done if epoch == 1 else 0)
        for i in range(3):
            progress.steps(32, 0.5 - 0.1 * i, 0.25 * i)
        progress.end_epoch(f"finetune epoch {epoch}/2  loss 0.3000")
    return stream.getvalue()


LINES = "finetune epoch 1/2  loss 0.3000\nfinetune epoch 2/2  loss 0.3000\n"


def test_plain_lines_elsewhere(monkeypatch):
    assert show(monkeypatch, terminal=False) == LINES


def test_a_bar_on_a_terminal(monkeypatch):
    text = show(monkeypatch, terminal=True)
    assert "finetune 1/2:" in text
    assert "finetune 2/2:" in text
    # The bar is wiped out before its epoch's line.
    for line in LINES.splitlines():
        assert re.search(rf"\r *\r{re.escape(line)}\n", text), repr(text)
    assert text.endswith("\n")


def bars(monkeypatch, *, done: int = 0) -> list[str]:
    """What a bar shows of three calls, ten seconds apart."""
    now = [1000.0]
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    progress = ConsoleProgress(96)
    progress.epoch("finetune", 2, 5, done)
    for i in range((96 - done) // 32):
        now[0] += 10
        progress.steps(32, 0.5 - 0.125 * i, 0.25 * (i + 1))
    shown = stream.getvalue().split("\r")
    monkeypatch.undo()
    progress.end_epoch("done")
    return [bar for bar in shown if bar.strip()]


def test_the_bar_shows_figures_rate_and_time_left(monkeypatch, capsys):
    first, *_ = [b for b in bars(monkeypatch) if "loss" in b]
    assert first.startswith("finetune 2/5:  33%")
    # 32 pictures in ten seconds; 64 more take another twenty.
    assert "32/96 [00:10<00:20" in first
    assert "3.20img/s" in first
    assert "loss 0.5000, accuracy 0.2500" in first


def test_the_bar_of_a_resumed_epoch_begins_where_it_was(monkeypatch, capsys):
    start, *rest = bars(monkeypatch, done=64)
    assert "64/96" in start
    # What was done before does not count as speed.
    assert "96/96 [00:10<00:00" in rest[0]
    assert "3.20img/s" in rest[0]


def test_nothing_of_a_bar_reaches_the_next_epoch(monkeypatch):
    """An epoch may be finished already when a run is started again."""
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    progress.end_epoch("one")
    progress.steps(32, 0.5, 0.5)
    assert stream.getvalue() == "one\n"
