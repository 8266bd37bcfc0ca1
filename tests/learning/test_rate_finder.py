"""Sweeps of the learning rate whose losses are known."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.learning.rate_finder import STEPS, Sweep
from trainer.learning.schedules import SWEEP, Schedule

RATES = Schedule(kind=SWEEP, peak=1.0, steps=STEPS).rates(np.arange(STEPS))


def test_the_rates_rise_by_one_factor_from_1e_7_to_1() -> None:
    assert RATES[0] == pytest.approx(1e-7)
    assert RATES[-1] == 1
    np.testing.assert_allclose(RATES[1:] / RATES[:-1], 10 ** (7 / (STEPS - 1)))


def test_smoothing_is_a_moving_average_without_bias() -> None:
    """By hand: 4, (0.9 * 4 + 2) / 1.9, (0.81 * 4 + 0.9 * 2) / 2.71."""
    sweep = Sweep(rates=RATES[:3], losses=np.array([4.0, 2.0, 0.0]))
    expected = [4, 5.6 / 1.9, 5.04 / 2.71]
    np.testing.assert_allclose(sweep.smoothed, expected)


@pytest.mark.parametrize(
    ("last", "length"),
    [([1.0], 41), ([np.nan, 1.0], 40), ([np.inf], 40), ([31.0], 40)],
    ids=["flat", "nan", "infinite", "4x"],
)
def test_a_sweep_ends_where_the_loss_diverges(last, length) -> None:
    """31 in a smoothed loss of 1 makes about 1 + 30 / 9.85 = 4.05."""
    losses = np.append(np.ones(40), last)
    assert Sweep(rates=RATES[: len(losses)], losses=losses).length == length


def test_a_quadratic_gives_a_rate_below_its_limit() -> None:
    """Gradient descent on c x² / 2 diverges at rates above 2 / c.

    With c = 100 that is 0.02. Far below it, nothing changes.
    """
    x, losses = 3.0, []
    for rate in RATES:
        losses.append(50 * x**2)
        x -= rate * 100 * x
    sweep = Sweep(rates=RATES, losses=np.array(losses))
    assert 0.02 < RATES[sweep.length] < 0.2
    found = sweep.suggestion()
    assert found is not None
    assert 1e-4 < found.steepest < 0.02
    assert 1e-3 < found.tenth_of_minimum < 0.02
    assert found.rate == min(found.steepest, found.tenth_of_minimum)


def test_the_steepest_descent_is_that_of_the_logarithm() -> None:
    """A drop from 2 to 1 around 1e-4, then a rise above 1e-2."""
    places = np.log10(RATES)
    fall = 1 / (1 + np.exp(-8 * (places + 4)))
    losses = 2 - fall + np.maximum(0, places + 2)
    found = Sweep(rates=RATES, losses=losses).suggestion()
    assert found is not None
    # Smoothing delays by some 0.3 decades.
    assert -4 < np.log10(found.steepest) < -3.5
    assert -3 < np.log10(found.tenth_of_minimum * 10) < -1.6


def test_a_loss_that_only_rises_gives_no_rate() -> None:
    assert Sweep(rates=RATES, losses=1 + RATES).suggestion() is None


def test_a_fall_by_chance_gives_no_rate() -> None:
    """Losses that no rate changes, of batches that differ."""
    noise = np.random.default_rng(0).normal(0, 0.1, (20, STEPS))
    found = [Sweep(rates=RATES, losses=1 + row).suggestion() for row in noise]
    assert found.count(None) >= 19
    # The same noise does not hide a fall by half.
    fall = 0.5 / (1 + np.exp(-8 * (np.log10(RATES) + 4)))
    for row in noise:
        known = Sweep(rates=RATES, losses=1 - fall + row).suggestion()
        assert known is not None
        assert 1e-5 < known.steepest < 1e-3
