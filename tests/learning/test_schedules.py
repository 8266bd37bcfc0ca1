"""The learning rate of each step, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.learning.schedules import GraphSchedule, Schedule, warmup_steps

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("kind", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ("constant", 4, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("linear", 0, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("linear", 4, [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        (
            "cosine",
            4,
            [0.25, 0.5, 0.75, 1, 1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2],
        ),
        ("step", 0, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("step", 2, [0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_rates_by_hand(kind, warmup, expected):
    schedule = Schedule(kind=kind, peak=3e-4, steps=8, warmup=warmup)
    rates = [schedule.rate(step) for step in range(8)]
    np.testing.assert_allclose(rates, 3e-4 * np.array(expected), rtol=1e-12)
    graph = GraphSchedule(schedule)
    found = [float(graph(step)) for step in range(8)]
    np.testing.assert_array_equal(found, np.float32(rates))


def test_a_factor_scales_every_rate():
    graph = GraphSchedule(Schedule(kind="linear", peak=1.0, steps=4))
    graph.factor.assign(0.25)
    assert [float(graph(step)) for step in range(4)] == [
        0.25, 0.1875, 0.125, 0.0625,
    ]  # fmt: skip


def test_the_rate_after_the_last_step_is_the_last_rate():
    graph = GraphSchedule(Schedule(kind="linear", peak=1.0, steps=4))
    assert float(graph(4)) == float(graph(3)) == 0.25


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [(0, 100, 0), (0.05, 100, 5), (0.05, 30, 2), (7, 100, 7), (1, 100, 1)],
)
def test_warmup_is_a_fraction_or_steps(warmup, steps, expected):
    assert warmup_steps(warmup, steps) == expected
