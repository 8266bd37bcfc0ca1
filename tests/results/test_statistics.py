"""Intervals and tests, compared with hand-worked numbers and with SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.results.statistics import (
    compare_correct,
    mcnemar,
    paired_bootstrap,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # By hand with z² = 3.841459: centre and half width over 1 + z² / n.
        # 5 of 10: 0.5 -+ sqrt(0.384146 / 4 + 0.192073²) / 1.384146.
        (5, 10, 0.236593, 0.763407),
        # 0 of n: (0, (z² / n) / (1 + z² / n)), which is 0.384146 / 1.384146.
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (1, 1, 0.206549, 1.0),
        # Newcombe, Statistics in Medicine 17, 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_by_hand_and_published(correct, total, low, high):
    digits = 5e-7 if total <= 10 else 5e-5
    assert wilson_interval(correct / total, total) == pytest.approx(
        (low, high), abs=digits
    )


def test_wilson_intervals_are_those_of_scipy():
    for total in (1, 2, 7, 250, 2500):
        for correct in {0, 1, total // 3, total - 1, total}:
            expected = stats.binomtest(correct, total).proportion_ci(
                method="wilson"
            )
            found = wilson_interval(correct / total, total)
            assert found == pytest.approx(tuple(expected), abs=1e-12)
            assert 0 <= found[0] <= correct / total <= found[1] <= 1


def test_ends_of_wilson_intervals_are_exact():
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    for total in range(1, 50):
        assert wilson_interval(0.0, total)[0] == 0.0
        assert wilson_interval(1.0, total)[1] == 1.0


@pytest.mark.parametrize(
    ("share", "total"), [(-0.1, 5), (1.1, 5), (float("nan"), 5), (0.5, -1)]
)
def test_no_interval_of_something_else(share, total):
    with pytest.raises(ValueError, match="not a share"):
        wilson_interval(share, total)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        # Five tosses, all heads: 2 / 2**5.
        (0, 5, 0.0625),
        (5, 0, 0.0625),
        # Ten tosses, at most two heads: 2 (1 + 10 + 45) / 1024.
        (8, 2, 0.109375),
        # Both tails hold the middle, so they would add up to more than 1.
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p):
    assert mcnemar(only_first, only_second) == pytest.approx(p, rel=1e-12)


def test_mcnemar_is_the_binomial_test_of_scipy():
    for b, c in ((1, 0), (4, 9), (30, 48), (200, 100), (0, 60), (1000, 1100)):
        expected = stats.binomtest(b, b + c, 0.5).pvalue
        assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_the_bootstrap_has_the_analytic_standard_error():
    """The error of a mean of -1, 0 and 1 is known; the bounds are normal."""
    total, b, c = 2500, 150, 220
    mean = (c - b) / total
    error = np.sqrt((b + c) / total - mean**2) / np.sqrt(total)
    low, high = paired_bootstrap(b, c, total, seed=0)
    # A quantile of 10,000 draws errs by sqrt(p q / m) / density, 2.7 % of the
    # standard error; and differences are multiples of 1 / 2500.
    bound = 4 * 0.027 * error + 1 / total
    assert low == pytest.approx(mean - 1.96 * error, abs=bound)
    assert high == pytest.approx(mean + 1.96 * error, abs=bound)


def test_the_bootstrap_is_that_of_resampled_samples():
    """Draws the samples themselves, 4,000 times."""
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 200)) < [[0.7], [0.8]]
    rows = rng.integers(0, 200, (4000, 200))
    differences = second[rows].mean(axis=1) - first[rows].mean(axis=1)
    found = compare_correct(first, second, seed=3)
    assert found.difference == pytest.approx(second.mean() - first.mean())
    expected = np.quantile(differences, (0.025, 0.975))
    # Two steps of 1 / 200.
    np.testing.assert_allclose(found.interval, expected, atol=0.0101)


def test_a_seed_repeats_and_another_differs():
    found = [paired_bootstrap(400, 550, 9970, seed=s) for s in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_equal_classifiers_do_not_differ():
    correct = np.array([True, False, True])
    found = compare_correct(correct, correct, seed=0)
    assert (found.only_first, found.only_second) == (0, 0)
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    assert found.p_value == 1.0


def test_disagreements_are_counted_by_hand():
    first = np.array([1, 1, 1, 0, 0, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 1], bool)
    found = compare_correct(first, second, seed=0)
    assert (found.only_first, found.only_second) == (2, 1)
    assert found.difference == pytest.approx(-1 / 6)
    assert found.interval[0] < -1 / 6 < found.interval[1]
