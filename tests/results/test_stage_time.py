"""Times of a stage, with a clock that the tests move."""

from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from trainer.results.stage_time import StageTime, shown_time


def train(time: StageTime, clock: ManualClock, *calls: float) -> None:
    """Trains an epoch in calls of 50 images, and validates in 2 s."""
    time.epoch()
    for seconds in calls:
        clock.advance(seconds)
        time.steps(50)
    clock.advance(2)
    time.end_epoch()


def test_the_call_that_compiles_is_not_timed() -> None:
    clock = ManualClock()
    time = StageTime(clock)
    assert time.per_image() is None
    train(time, clock, 100, 5)
    # 50 images in 5 s.
    assert time.per_image() == pytest.approx(0.1)
    assert time.images == 100
    assert time.per_validation() == 0
    assert time.seconds() == 107


def test_complete_later_epochs_replace_the_first() -> None:
    clock = ManualClock()
    time = StageTime(clock)
    train(time, clock, 100, 50)
    train(time, clock, 10, 20)
    train(time, clock, 15, 15)
    time.epoch()
    clock.advance(1000)
    time.steps(50)
    # 200 images in 60 s.
    assert time.per_image() == pytest.approx(0.3)
    assert (time.images, time.validations) == (350, 3)
    assert time.per_validation() == 2


def test_rows_of_the_cache_are_timed_apart() -> None:
    """The first block of each split starts a pipeline; it is not timed."""
    clock = ManualClock()
    time = StageTime(clock)
    for total in (50, 30):
        for done in range(10, total + 1, 10):
            clock.advance(100 if done == 10 else 1)
            time.count_rows(done, total)
    assert time.rows.images == 40 + 20
    assert time.rows.seconds == 4 + 2


def test_rows_computed_in_a_validation_are_none_of_its_time() -> None:
    clock = ManualClock()
    time = StageTime(clock)
    train(time, clock, 100, 5)
    time.epoch()
    time.steps(50)
    time.count_rows(10, 30)
    clock.advance(7)
    time.count_rows(30, 30)
    clock.advance(3)
    time.end_epoch()
    assert time.per_validation() == 3


def test_the_first_validation_counts_what_follows_its_compiling() -> None:
    clock = ManualClock()
    time = StageTime(clock)
    time.epoch()
    time.steps(50)
    for seconds, done in ((100, 10), (2, 20), (4, 40)):
        clock.advance(seconds)
        time.evaluated(done, 40)
    clock.advance(50)
    time.end_epoch()
    # 30 of 40 images in 6 s.
    assert time.per_validation() == pytest.approx(8)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (60, "1 min"),
        (5969, "99 min"),
        (6000, "1 h 40 min"),
        (7200, "2 h 0 min"),
    ],
)
def test_shown_time(seconds: float, shown: str) -> None:
    assert shown_time(seconds) == shown
