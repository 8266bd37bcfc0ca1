"""Splits, subsets and folds of samples with several labels.

All of them use iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On
the stratification of multi-label data", ECML PKDD 2011): the samples of the
rarest label are dealt first, each to the part that lacks this label most. Ties
are broken by a hash of the sample ids, so that a result depends on ids, labels
and seed alone. A group of samples is dealt as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

from trainer.data.groups import ordered_groups
from trainer.data.samples import Samples
from trainer.data.subsets import subset_size
from trainer.errors import TrainerError

_HALVES = (0.5, 0.5)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelUnits:
    """The groups of n samples in the order of a hash; u units.

    A sample without a group is a unit by itself.

    Attributes:
      rows: the rows of each unit, int64.
      counts: int64 (u, classes), samples of each class in each unit.
      sizes: int64 (u,), samples in each unit.
    """

    rows: tuple[np.ndarray, ...]
    counts: np.ndarray
    sizes: np.ndarray

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Returns the value of each sample's unit, (n,)."""
        found = np.zeros(int(self.sizes.sum()), values.dtype)
        for rows, value in zip(self.rows, values, strict=True):
            found[rows] = value
        return found

    def firsts(self) -> np.ndarray:
        """Returns which units are the first of any class, bool (u,)."""
        found = np.zeros(len(self.sizes), bool)
        has = self.counts > 0
        found[has.argmax(axis=0)[has.any(axis=0)]] = True
        return found


def label_units(
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    salt: str,
) -> LabelUnits:
    """Returns the units of samples.

    Args:
      ids: n ids, unique.
      labels: (n, classes), 1 for each class that a sample has.
      groups: n names of groups; empty without groups.
      salt: different salts give independent orders.
    """
    rows = ordered_groups(ids, groups or [""] * len(ids), salt=salt)
    return LabelUnits(
        rows=rows,
        counts=np.array(
            [labels[unit].sum(axis=0, dtype=np.int64) for unit in rows],
            np.int64,
        ).reshape(len(rows), labels.shape[1]),
        sizes=np.array([len(unit) for unit in rows], np.int64),
    )


def deal(
    counts: np.ndarray,
    sizes: np.ndarray,
    shares: Sequence[float],
    fixed: np.ndarray | None = None,
) -> np.ndarray:
    """Deals units to parts by iterative stratification.

    Args:
      counts: int64 (u, classes); see `LabelUnits`.
      sizes: int64 (u,).
      shares: the share of each part; their sum is 1.
      fixed: int64 (u,), the part of units that are dealt already, -1 for all
        others; None if none is.

    Returns:
      int64 (u,), the number of the part.
    """
    found = np.full(len(sizes), -1, np.int64)
    part_of = np.array(shares, np.float64)
    lacking = part_of[:, None] * counts.sum(axis=0)
    room = part_of * sizes.sum()
    left = (counts > 0).sum(axis=0)

    def put(unit: int, part: int) -> None:
        nonlocal left
        found[unit] = part
        lacking[part] -= counts[unit]
        room[part] -= sizes[unit]
        left = left - (counts[unit] > 0)

    if fixed is not None:
        for unit in np.flatnonzero(fixed >= 0).tolist():
            put(unit, int(fixed[unit]))
    while (left > 0).any():
        rarest = int(np.where(left > 0, left, left.max() + 1).argmin())
        waiting = (counts[:, rarest] > 0) & (found < 0)
        for unit in np.flatnonzero(waiting).tolist():
            need = lacking[:, rarest]
            # Of parts that lack the label equally, the one with most room.
            rooms = np.where(need == need.max(), room, -np.inf)
            put(unit, int(rooms.argmax()))
    for unit in np.flatnonzero(found < 0).tolist():
        put(unit, int(room.argmax()))
    return found


def deal_two(units: LabelUnits, fraction: float) -> np.ndarray:
    """Returns which units are held out.

    The first unit of each class is never held out. If a class has other units,
    at least one of them is.

    Args:
      units: the units.
      fraction: of the samples to hold out, in (0, 1).

    Returns:
      bool (u,).
    """
    kept, has = units.firsts(), units.counts > 0
    fixed = np.where(kept, 0, -1)
    # Those of classes with too few units for a share of one come first, so
    # that the dealing makes up for them.
    few = [c for c in range(has.shape[1]) if has[:, c].sum() * fraction < 1]
    fixed[_one_of_each(few, has, kept, fixed == 1)] = 1
    shares = (1 - fraction, fraction)
    held = deal(units.counts, units.sizes, shares, fixed) == 1
    held[_one_of_each(range(has.shape[1]), has, kept, held)] = True
    return held


def _one_of_each(
    classes: Iterable[int], has: np.ndarray, kept: np.ndarray, held: np.ndarray
) -> list[int]:
    """Returns a unit to hold out for each class that has none held out.

    Args:
      classes: the classes to look at.
      has: bool (u, classes), whether a unit has a class.
      kept: bool (u,), the units that cannot be held out.
      held: bool (u,), the units that are held out already.
    """
    found: list[int] = []
    for label in classes:
        others = np.flatnonzero(has[:, label] & ~kept)
        if (
            len(others)
            and not held[others].any()
            and not has[found, label].any()
        ):
            found.append(int(others[-1]))
    return found


def prefix(units: LabelUnits, size: int) -> np.ndarray:
    """Returns the first units of a stratified order.

    The order is made by halving: all units are dealt to two equal parts, and
    each part is halved again. So every prefix of the order has about the label
    shares of the whole, and a smaller `size` gives a part of a larger one.

    Args:
      units: the units.
      size: the largest number of samples.

    Returns:
      bool (u,).
    """
    chosen = np.zeros(len(units.sizes), bool)
    block = np.arange(len(units.sizes))
    while len(block):
        if units.sizes[block].sum() <= size:
            chosen[block] = True
            break
        if len(block) == 1:
            break
        first, second = _halves(units, block)
        needed = int(units.sizes[first].sum())
        if needed <= size:
            chosen[first] = True
            size -= needed
            block = second
        else:
            block = first
    return chosen


def _halves(
    units: LabelUnits, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    parts = deal(units.counts[block], units.sizes[block], _HALVES)
    first, second = block[parts == 0], block[parts == 1]
    if len(first) and len(second):
        return first, second
    # One large group may outweigh all others.
    middle = len(block) // 2
    return block[:middle], block[middle:]


def nested_label_subset(samples: Samples, pct: float, seed: int) -> np.ndarray:
    """Returns the rows of a stratified subset.

    It is a prefix of a stratified order, and the first unit of each class. So
    the subset of a smaller `pct` is part of that of a larger one.

    Args:
      samples: n samples with several labels.
      pct: percentage of the samples, 0 < pct <= 100.
      seed: chooses the subset.

    Returns:
      int64 row numbers, sorted by id.
    """
    units = _units(samples, _subset_salt(seed))
    chosen = prefix(units, subset_size(len(samples), pct)) | units.firsts()
    return _sorted_by_id(samples, units.spread(chosen))


def labels_held_out(
    samples: Samples, fraction: Decimal, seed: int
) -> np.ndarray:
    """Returns which training samples are held out to validate on.

    Args:
      samples: all training samples, so that no role depends on the subset.
      fraction: of the samples, in (0, 0.5].
      seed: the seed of the subset.

    Returns:
      bool (n,).
    """
    units = _units(samples, _subset_salt(seed))
    return units.spread(deal_two(units, float(fraction)))


def label_sample(samples: Samples, count: int) -> np.ndarray:
    """Returns the rows of a fixed sample with about the same label shares.

    The choice depends only on ids and labels. Groups are ignored.

    Args:
      samples: n samples with several labels.
      count: number of samples to take; at most n are taken.

    Returns:
      int64 (min(count, n),) row numbers, sorted by id.
    """
    units = label_units(samples.ids, samples.labels, (), salt="validation")
    return _sorted_by_id(samples, units.spread(prefix(units, count)))


def split_labels(
    samples: Samples, fraction: float, *, dataset: str
) -> tuple[Samples, Samples]:
    """Splits a data set without a test split into train and test samples.

    Args:
      samples: all samples of the data set, with several labels.
      fraction: of the samples to test on, in (0, 1).
      dataset: the name that the user gave, for the error.

    Returns:
      The samples to train on, and those to test on.

    Raises:
      TrainerError: there are too few samples, or groups, for both.
    """
    units = _units(samples, "split")
    held = units.spread(deal_two(units, fraction))
    if not held.any():
        raise TrainerError(
            f"--dataset={dataset!r}: too few images to test on a part of them;"
            " add images, or a column of splits"
        )
    return (
        samples.take(_sorted_by_id(samples, ~held)),
        samples.take(_sorted_by_id(samples, held)),
    )


def label_folds(
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    folds: int,
    salt: str,
) -> np.ndarray:
    """Assigns samples to stratified folds.

    The samples of a class that would all be in one fold are never held out,
    because the other folds could not train the class.

    Args:
      ids: n ids, unique.
      labels: (n, classes), 1 for each class that a sample has.
      groups: n names of groups; empty without groups.
      folds: number of folds.
      salt: different salts give independent folds.

    Returns:
      int64 (n,), the fold that holds a sample out; -1 for none.
    """
    units = label_units(ids, labels, groups, salt=salt)
    dealt = deal(units.counts, units.sizes, [1 / folds] * folds)
    found = dealt.copy()
    for has in (units.counts > 0).T:
        if has.any() and len(np.unique(dealt[has])) == 1:
            found[has] = -1
    return units.spread(found)


def _units(samples: Samples, salt: str) -> LabelUnits:
    return label_units(samples.ids, samples.labels, samples.groups, salt=salt)


def _subset_salt(seed: int) -> str:
    return f"subset {seed}"


def _sorted_by_id(samples: Samples, chosen: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(chosen).tolist()
    found = sorted(rows, key=lambda row: samples.ids[row])
    return np.array(found, np.int64)
