"""Splits, subsets and folds of which no group of images is divided.

A group is, for example, all images of one person. An image without a group is
a group by itself. Every rule here walks through the groups in the order of a
hash, and for groups of one image it chooses what the rules of `subsets` choose.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """The groups of n samples, in the order of a hash.

    Attributes:
      rows: the rows of each group, int64.
      classes: the labels in each group, int64, sorted and unique.
      counts: number of samples of each of these labels, int64.
      num_classes: every label is below it.
    """

    rows: tuple[np.ndarray, ...]
    classes: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    num_classes: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Number of samples in all groups."""
        return sum(len(rows) for rows in self.rows)

    def spread(self, values: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the value of each sample's group, int64 (n,)."""
        found = np.zeros(self.size, np.int64)
        for rows, value in zip(self.rows, values, strict=True):
            found[rows] = value
        return found


def make_grouping(
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    num_classes: int,
    salt: str,
) -> Grouping:
    """Returns the groups in the order of a hash of salt and group.

    Args:
      ids: n ids, unique.
      labels: int (n,), below `num_classes`.
      groups: n names of groups; "" for a sample without one.
      num_classes: the number of classes.
      salt: different salts give independent orders.
    """
    rows = ordered_groups(ids, groups, salt=salt)
    pairs = [np.unique(labels[r], return_counts=True) for r in rows]
    return Grouping(
        rows=rows,
        classes=tuple(pair[0].astype(np.int64) for pair in pairs),
        counts=tuple(pair[1].astype(np.int64) for pair in pairs),
        num_classes=num_classes,
    )


def ordered_groups(
    ids: Sequence[str], groups: Sequence[str], *, salt: str
) -> tuple[np.ndarray, ...]:
    """Returns the rows of each group, in the order of `make_grouping`.

    Args:
      ids: see `make_grouping`.
      groups: see `make_grouping`.
      salt: see `make_grouping`.

    Returns:
      int64 row numbers, one array for each group.
    """
    members: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for row, (sample_id, group) in enumerate(zip(ids, groups, strict=True)):
        # The second part keeps a group apart from an id of the same name.
        members[(group, "group") if group else (sample_id, "")].append(row)
    keys = sorted(members, key=lambda key: (_hash(f"{salt}\n{key[0]}"), key))
    return tuple(np.array(members[key], np.int64) for key in keys)


def groups_per_class(grouping: Grouping) -> np.ndarray:
    """Returns the number of groups with images of a class, int64 (classes,)."""
    found = np.zeros(grouping.num_classes, np.int64)
    for classes in grouping.classes:
        found[classes] += 1
    return found


def prefix(grouping: Grouping, sizes: Sequence[int]) -> np.ndarray:
    """Returns which samples belong to a subset of whole groups.

    Each class takes its groups in their order, at least one, for as long as
    its own images in them are not more than wanted. A group is in the subset
    if one of its classes takes it. With larger sizes no group leaves the
    subset, so subsets are nested.

    Args:
      grouping: of n samples.
      sizes: number of images that are wanted of each class.

    Returns:
      bool (n,).
    """
    seen = np.zeros(grouping.num_classes, np.int64)
    wanted = np.array(sizes, np.int64)
    chosen = []
    for classes, counts in zip(grouping.classes, grouping.counts, strict=True):
        first = seen[classes] == 0
        seen[classes] += counts
        chosen.append(int((first | (seen[classes] <= wanted[classes])).any()))
    return grouping.spread(chosen).astype(bool)


def closest(grouping: Grouping, sizes: Sequence[int]) -> np.ndarray | None:
    """Returns which samples to hold out so that both sides have each class.

    A group is held out if the number of images held out of its classes comes
    closer to what is wanted. Then each class that has nothing held out gets
    its smallest group that leaves every class an image on the other side.

    Args:
      grouping: of n samples.
      sizes: number of images to hold out of each class, at least 1.

    Returns:
      bool (n,); None if such groups were not found.
    """
    total = np.zeros(grouping.num_classes, np.int64)
    for classes, counts in zip(grouping.classes, grouping.counts, strict=True):
        total[classes] += counts
    wanted = np.array(sizes, np.int64)
    held = np.zeros(grouping.num_classes, np.int64)
    chosen = np.zeros(len(grouping), np.int64)

    def leaves_some(number: int) -> bool:
        classes = grouping.classes[number]
        left = total[classes] - held[classes] - grouping.counts[number]
        return bool((left > 0).all())

    def hold(number: int) -> None:
        chosen[number] = 1
        held[grouping.classes[number]] += grouping.counts[number]

    for number, classes in enumerate(grouping.classes):
        counts = grouping.counts[number]
        lacking = wanted[classes] - held[classes]
        if _comes_closer(lacking, counts) and leaves_some(number):
            hold(number)
    for label in range(grouping.num_classes):
        if held[label] or not total[label]:
            continue
        fitting = [
            number
            for number in range(len(grouping))
            if label in grouping.classes[number] and leaves_some(number)
        ]
        if not fitting:
            return None
        hold(min(fitting, key=lambda number: len(grouping.rows[number])))
    return grouping.spread(chosen).astype(bool)


def nested_held_out(
    grouping: Grouping, count_of: Callable[[int, Decimal], int], part: Decimal
) -> np.ndarray:
    """Returns which samples are held out to validate on.

    A group is held out or not by the groups before it alone. It is held out
    if each of its classes has an image to train on in an earlier group, and
    either its classes come closer to their wanted numbers, or at least half of
    its images are of classes that have nothing held out yet. The first group
    of each class is never held out.

    Args:
      grouping: of all n training samples, in the order of the subset.
      count_of: number of images to hold out of a class, from its number of
        images so far and `part`.
      part: fraction of each class, in (0, 0.5].

    Returns:
      bool (n,).
    """
    seen = np.zeros(grouping.num_classes, np.int64)
    held = np.zeros(grouping.num_classes, np.int64)
    chosen = []
    for classes, counts in zip(grouping.classes, grouping.counts, strict=True):
        trained = seen[classes] > held[classes]
        seen[classes] += counts
        wanted = [count_of(n, part) for n in seen[classes].tolist()]
        lacking = np.array(wanted, np.int64) - held[classes]
        empty = int(counts[held[classes] == 0].sum())
        holds = bool(trained.all()) and (
            _comes_closer(lacking, counts) or 2 * empty >= counts.sum()
        )
        held[classes] += counts * holds
        chosen.append(int(holds))
    return grouping.spread(chosen).astype(bool)


def nested_folds(grouping: Grouping, folds: int) -> np.ndarray:
    """Returns the fold of each sample; no group is in two folds.

    Each group goes to the fold with the fewest images of the group's classes,
    weighted by the group's images of each. The groups before it alone decide.

    Args:
      grouping: of all n training samples, in the order of the subset.
      folds: number of folds.

    Returns:
      int64 (n,), from 1 to `folds`.
    """
    sizes = np.zeros((folds, grouping.num_classes), np.int64)
    numbers = []
    for classes, counts in zip(grouping.classes, grouping.counts, strict=True):
        cost = sizes[:, classes] @ counts
        # Equal folds are taken in turn, from one that depends on the class, so
        # that what is left over of the classes goes to different folds.
        start = int(classes[np.argmax(counts)])
        turn = [(start + step) % folds for step in range(folds)]
        fold = min(turn, key=lambda number: int(cost[number]))
        sizes[fold, classes] += counts
        numbers.append(fold + 1)
    return grouping.spread(numbers)


def _comes_closer(lacking: np.ndarray, counts: np.ndarray) -> bool:
    """Returns whether adding `counts` brings `lacking` closer to 0."""
    before, after = np.abs(lacking).sum(), np.abs(lacking - counts).sum()
    return bool(after < before)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
