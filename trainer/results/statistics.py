"""How far chance alone may move an accuracy, or the difference of two."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# The 97.5 % quantile of the standard normal distribution.
Z95 = 1.959963984540054
RESAMPLES = 10_000

Interval = tuple[float, float]


def wilson_interval(share: float, total: int) -> Interval:
    """Returns the Wilson score interval of a proportion, 95 %.

    With p = share, n = total and z = `Z95` it is

        (p + z² / 2n ± z sqrt(p (1 - p) / n + z² / 4n²)) / (1 + z² / n)

    (Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22, 1927; Brown, Cai and DasGupta, Statistical Science 16,
    2001, recommend it for all n.)

    Args:
      share: the proportion of successes, in [0, 1].
      total: number of trials, 0 or more.

    Returns:
      Its ends, in [0, 1]. The interval of no trials is (0, 1).

    Raises:
      ValueError: an argument is out of range.
    """
    if total < 0 or not 0 <= share <= 1:
        raise ValueError(f"{share=}, {total=}: not a share of a number")
    if total == 0:
        return 0.0, 1.0
    z2 = Z95**2 / total
    centre = share + z2 / 2
    half = math.sqrt(z2 * share * (1 - share) + (z2 / 2) ** 2)
    # The formula gives these ends up to rounding.
    low = 0.0 if share == 0 else (centre - half) / (1 + z2)
    high = 1.0 if share == 1 else (centre + half) / (1 + z2)
    return low, high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Two classifiers compared on the same samples.

    Attributes:
      only_first: number of samples that only the first classifies correctly.
      only_second: number of samples that only the second does.
      difference: the accuracy of the second minus that of the first.
      interval: of the difference, 95 %.
      p_value: of McNemar's exact test, two-sided.
    """

    only_first: int
    only_second: int
    difference: float
    interval: Interval
    p_value: float


def compare_correct(
    first: np.ndarray, second: np.ndarray, *, seed: int
) -> Difference:
    """Compares two classifiers by which of the same samples they get right.

    Args:
      first: bool (n,), whether the first is correct, n at least 1.
      second: bool (n,), whether the second is correct on the same samples.
      seed: of the bootstrap.
    """
    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(second & ~first))
    return Difference(
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / len(first),
        interval=paired_bootstrap(
            only_first, only_second, len(first), seed=seed
        ),
        p_value=mcnemar(only_first, only_second),
    )


def paired_bootstrap(
    only_first: int, only_second: int, total: int, *, seed: int
) -> Interval:
    """Returns the percentile interval of a difference of accuracies, 95 %.

    It is the paired bootstrap (Efron and Tibshirani, "An introduction to the
    bootstrap", 1993, chapter 13) with `RESAMPLES` resamples. A resample draws
    `total` samples with replacement. The difference depends only on how many
    of them one classifier alone gets right, and these numbers have a
    multinomial distribution, so they are drawn directly.

    Args:
      only_first: number of samples that only the first gets right.
      only_second: number of samples that only the second gets right.
      total: number of samples, at least 1.
      seed: 0 or more; the same seed gives the same interval.
    """
    equal = total - only_first - only_second
    counts = np.random.default_rng(seed).multinomial(
        total,
        np.array([only_first, only_second, equal]) / total,
        size=RESAMPLES,
    )
    differences = (counts[:, 1] - counts[:, 0]) / total
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the p value of McNemar's exact test, two-sided.

    If both classifiers are equally good, each sample on which they disagree
    favours one of them like a fair coin. So it is the binomial test of
    `only_first` in `only_first + only_second` tosses, as in
    `scipy.stats.binomtest`; 1 if they never disagree.
    """
    # scipy.stats would take most of a second to import.
    from scipy.special import bdtr

    tosses = only_first + only_second
    rarer = min(only_first, only_second)
    # Both tails are equal; counted twice, the middle may exceed 1.
    return min(1.0, 2 * float(bdtr(rarer, tosses, 0.5)))


def share_of(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns part / whole, NaN where whole is 0."""
    found = np.full(len(whole), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def known_mean(values: np.ndarray) -> float:
    """Returns the mean of the values that are not NaN; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
