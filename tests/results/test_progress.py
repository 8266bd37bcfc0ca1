"""A bar on a terminal, plain lines in a file."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios

import pytest

from tests.support.clock import ManualClock
from trainer.results.progress import ConsoleProgress

COLUMNS = 80


class Stream(io.StringIO):
    """A text stream that is or is not a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def show(monkeypatch, terminal: bool, done: int = 0) -> str:
    """Shows two epochs of 96 images in three calls each; returns the output."""
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    for epoch in (1, 2):
        progress.epoch("finetune", epoch, 2, done if epoch == 1 else 0)
        for i in range(3):
            progress.steps(32, 0.5 - 0.1 * i, 0.25 * i)
        progress.end_epoch(f"finetune epoch {epoch}/2  loss 0.3000")
    return stream.getvalue()


LINES = "finetune epoch 1/2  loss 0.3000\nfinetune epoch 2/2  loss 0.3000\n"


def test_a_file_gets_plain_lines(monkeypatch):
    assert show(monkeypatch, terminal=False) == LINES


def test_a_terminal_gets_a_bar(monkeypatch):
    text = show(monkeypatch, terminal=True)
    assert "finetune 1/2 " in text
    assert "finetune 2/2 " in text
    # The bar is erased before the line of its epoch.
    for line in LINES.splitlines():
        assert re.search(rf"\r *\r{re.escape(line)}\n", text), repr(text)
    assert text.endswith("\n")


def bars(monkeypatch, stage: str, *, done: int = 0) -> list[str]:
    """Returns a pseudo-terminal's output: the start, and a call per 10 s."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", 24, COLUMNS, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    now = [1000.0]
    monkeypatch.setattr(sys, "stdout", os.fdopen(theirs, "w"))
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    progress = ConsoleProgress(4096)
    progress.epoch(stage, 2, 5, done)
    for i in range((4096 - done) // 1024):
        now[0] += 10
        progress.steps(1024, 0.5 - 0.125 * i, 0.25 * (i + 1))
    progress.end_epoch("done")
    sys.stdout.close()
    shown = b""
    # The output arrives in pieces. After the last one, reading raises OSError.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 2**16):
            shown += piece
    os.close(ours)
    text = shown.decode().rpartition("done")[0]
    return [bar for bar in text.split("\r") if bar.strip()]


@pytest.mark.parametrize("stage", ["finetune", "feature_extract"])
def test_the_bar_shows_metrics_rate_and_time_left(monkeypatch, stage):
    """1024 images take ten seconds; the first ones compile, and do not count.

    So 2048 more take twenty seconds.
    """
    begin, first, second, *_ = bars(monkeypatch, stage)
    assert begin.rstrip() == f"{stage} 2/5 compiling ..."
    assert first.startswith(
        f"{stage} 2/5  25%, loss 0.5000, accuracy 0.2500, ?img/s, ? left"
    )
    assert second.startswith(
        f"{stage} 2/5  50%, loss 0.3750, accuracy 0.5000, 102.40img/s,"
        " 00:20 left"
    )
    assert len(first) <= COLUMNS


def test_the_bar_of_a_resumed_epoch_begins_where_it_was(monkeypatch):
    """Images of the earlier run do not count for the rate."""
    _, first, second = bars(monkeypatch, "finetune", done=2048)
    assert first.startswith(
        "finetune 2/5  75%, loss 0.5000, accuracy 0.2500, ?img/s, ? left"
    )
    assert second.startswith(
        "finetune 2/5 100%, loss 0.3750, accuracy 0.5000, 102.40img/s,"
        " 00:00 left"
    )


def test_only_the_first_epoch_of_a_stage_compiles(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(64)
    for stage, epoch in (("a", 1), ("a", 2), ("b", 1)):
        progress.epoch(stage, epoch, 2, 0)
        progress.steps(32, 0.5, 0.5)
        progress.steps(32, 0.5, 0.5)
        progress.end_epoch("")
    shown = re.findall(r"(\w \d/2) +(compiling|\d+%)", stream.getvalue())
    assert next(word for name, word in shown if name == "a 2/2") == "0%"
    compiled = {name for name, word in shown if word == "compiling"}
    assert compiled == {"a 1/2", "b 1/2"}


def train(
    monkeypatch: pytest.MonkeyPatch,
    *,
    epochs: int,
    call: float,
    validation: float = 0,
    terminal: bool = False,
) -> str:
    """Trains epochs of 4096 images in four calls; returns the output.

    Args:
      monkeypatch: replaces standard output.
      epochs: number of epochs.
      call: seconds per call.
      validation: seconds per validation.
      terminal: whether the output is a terminal.
    """
    stream, clock = Stream(terminal), ManualClock()
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(4096, clock=clock)
    progress.begin_stage()
    for epoch in range(1, epochs + 1):
        progress.epoch("finetune", epoch, epochs, 0)
        # The first call compiles, and does not count.
        for seconds in (1000 if epoch == 1 else call, call, call, call):
            clock.advance(seconds)
            progress.steps(1024, 0.5, 0.5)
        # So does the first block of the validation, a fifth of it.
        for seconds, done in ((7, 10), (0.8 * validation, 50)):
            clock.advance(seconds)
            progress.evaluated("validation", done, 50)
        progress.end_epoch(f"epoch {epoch}")
    return stream.getvalue()


# In five epochs there are 18 calls after the first two, and 16 after the first
# epoch.
@pytest.mark.parametrize(
    ("seconds", "epochs", "early", "later"),
    [
        pytest.param((10, 0), 5, "3 min", "", id="180 seconds"),
        # 38 calls.
        pytest.param((300, 0), 10, "3 h 10 min", "", id="hours"),
        pytest.param((3, 0), 5, "", "", id="under a minute"),
        pytest.param((100, 0), 1, "3 min", "", id="the only epoch"),
        # Less than five seconds are timed in the first epoch; then 96 calls.
        pytest.param((1, 0), 25, "", "2 min", id="after the first epoch"),
        # 180 s from the second call are 149 s after the first epoch; 180 s.
        pytest.param((10, 5), 5, "3 min", "", id="off by a sixth"),
        # 180 s from the second call are 121 s after the first epoch; 320 s.
        pytest.param((10, 40), 5, "3 min", "5 min", id="off by five thirds"),
    ],
)
def test_the_first_steps_say_how_long_the_stage_takes(
    monkeypatch, seconds, epochs, early, later
):
    call, validation = seconds
    text = train(monkeypatch, epochs=epochs, call=call, validation=validation)
    before, after = (
        f"finetune: about {time} left\n" if time else ""
        for time in (early, later)
    )
    rest = "".join(f"epoch {n}\n" for n in range(2, epochs + 1))
    assert text == f"{before}epoch 1\n{after}{rest}"


def test_the_line_about_the_time_is_above_the_bar(monkeypatch):
    text = train(monkeypatch, epochs=5, call=10, terminal=True)
    assert re.search(r"\r *\rfinetune: about 3 min left\n\rfinetune 1/5 ", text)


def test_a_resumed_stage_says_what_is_left_of_it(monkeypatch):
    """Half of the third of four epochs is done."""
    stream, clock = Stream(terminal=False), ManualClock()
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(4096, clock=clock)
    progress.epoch("finetune", 3, 4, 2048)
    for _ in range(2):
        clock.advance(30)
        progress.steps(1024, 0.5, 0.5)
    # 4096 images.
    assert stream.getvalue() == "finetune: about 2 min left\n"


def test_an_evaluation_takes_the_place_of_the_bar(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    progress.epoch("finetune", 1, 2, 0)
    progress.evaluated("validation", 10, 40)
    assert progress._bar is None
    assert progress._rows is not None
    assert (progress._rows.n, progress._rows.total) == (10, 40)
    progress.evaluated("validation", 40, 40)
    assert progress._rows is None


def test_an_interrupted_run_leaves_no_bar(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    progress.epoch("finetune", 1, 2, 0)
    progress.rows("features", 10, 40)
    progress.close()
    assert re.search(r"\r *\r$", stream.getvalue())


def test_nothing_of_a_bar_reaches_the_next_epoch(monkeypatch):
    """A resumed run may begin with a finished epoch."""
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    progress.end_epoch("one")
    progress.steps(32, 0.5, 0.5)
    assert stream.getvalue() == "one\n"


def test_the_bar_of_computed_rows_is_at_the_number_done(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = ConsoleProgress(96)
    for done in (10, 20, 30):
        progress.rows("features", done, 40)
        assert progress._rows is not None
        assert (progress._rows.n, progress._rows.total) == (done, 40)
    progress.rows("features", 40, 40)
    assert progress._rows is None
    # The next split has a bar of its own.
    progress.rows("images", 5, 50)
    assert progress._rows is not None
    assert (progress._rows.n, progress._rows.total) == (5, 50)


def test_a_file_gets_no_bar_of_computed_rows(monkeypatch):
    stream = Stream(terminal=False)
    monkeypatch.setattr(sys, "stdout", stream)
    ConsoleProgress(96).rows("features", 10, 40)
    assert stream.getvalue() == ""
