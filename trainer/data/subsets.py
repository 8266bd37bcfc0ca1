"""Chooses subsets of samples by hashes of their ids, not by file order."""

from __future__ import annotations

import collections
import hashlib
from decimal import Decimal

import numpy as np

from trainer.data import groups
from trainer.data.samples import Samples
from trainer.errors import TrainerError


def _decimal(number: float) -> Decimal:
    """Returns the number as the user wrote it, not its binary fraction."""
    return Decimal(repr(float(number)))


def subset_size(n_class: int, pct: float) -> int:
    """Returns max(1, floor(n_class * pct / 100)), in decimal arithmetic."""
    return max(1, int(n_class * _decimal(pct) / 100))


def nested_subset(
    samples: Samples,
    num_classes: int,
    pct: float,
    seed: int,
    shots: int | None = None,
) -> np.ndarray:
    """Returns the rows of a stratified subset.

    The subset of a smaller `pct` is part of that of a larger one, and so with
    `shots`. No group is divided; see `groups.prefix`.

    Args:
      samples: n samples.
      num_classes: every label is below it.
      pct: percentage of each class, 0 < pct <= 100; at least one sample of
        each class that has any.
      seed: chooses the subset.
      shots: number of samples of each class, in place of `pct`; a class that
        has fewer gives all.

    Returns:
      int64 row numbers, sorted by id.
    """
    sizes = [
        min(n, shots or subset_size(n, pct))
        for n in samples.counts(num_classes).tolist()
    ]
    if samples.groups:
        chosen = groups.prefix(_subset_order(samples, seed), sizes)
        return _sorted_by_id(samples, np.flatnonzero(chosen))
    return _first_of_each_class(samples, sizes, _subset_salt(seed))


def held_out_count(n_class: int, fraction: Decimal) -> int:
    """Returns max(1, floor(n_class * fraction)); 0 below two samples."""
    return max(1, int(n_class * fraction)) if n_class > 1 else 0


def held_out(samples: Samples, fraction: Decimal, seed: int) -> np.ndarray:
    """Returns which samples of a subset are held out to validate on.

    The roles are nested: as `pct` of `nested_subset` grows, no sample changes
    its role. Sample i of a class, in the order of the subset and from 0, is
    held out if `held_out_count` of i + 1 samples exceeds that of i. So the
    class's `held_out_count` samples are held out, and none of a class with a
    single one.

    Args:
      samples: n samples, of `nested_subset`; with groups all training samples,
        to which `groups.nested_held_out` applies.
      fraction: fraction of each class, in (0, 0.5].
      seed: the seed of the subset.

    Returns:
      bool (n,).
    """
    if samples.groups:
        order = _subset_order(samples, seed)
        return groups.nested_held_out(order, held_out_count, fraction)
    return np.array(
        [
            held_out_count(rank + 1, fraction) > held_out_count(rank, fraction)
            for rank in _class_ranks(samples, _subset_salt(seed)).tolist()
        ],
        bool,
    )


def fold_numbers(samples: Samples, folds: int, seed: int) -> np.ndarray:
    """Returns the fold of each sample of a subset; folds are stratified.

    The sizes of two folds differ by at most one sample per class. As `pct` of
    `nested_subset` grows, no sample changes its fold.

    Args:
      samples: n samples, of `nested_subset`; with groups all training samples,
        to which `groups.nested_folds` applies.
      folds: number of folds.
      seed: the seed of the subset.

    Returns:
      int64 (n,), from 1 to `folds`.
    """
    if samples.groups:
        return groups.nested_folds(_subset_order(samples, seed), folds)
    ranks = _class_ranks(samples, _subset_salt(seed))
    # The label spreads what is left over from the classes to other folds.
    return (ranks + samples.labels) % folds + 1


def count_units(samples: Samples, num_classes: int) -> np.ndarray:
    """Returns the number of groups that have images of a class.

    Without groups, it is the number of samples of the class.

    Args:
      samples: n samples.
      num_classes: every label is below it.

    Returns:
      int64 (num_classes,).
    """
    if not samples.groups:
        return samples.counts(num_classes)
    found = np.zeros(num_classes, np.int64)
    per_class = groups.groups_per_class(_order(samples, ""))
    found[: len(per_class)] = per_class
    return found


def stratified_sample(
    samples: Samples, num_classes: int, count: int
) -> np.ndarray:
    """Returns the rows of a fixed sample with the same class proportions.

    The sizes follow the method of largest remainders; if `count` allows, every
    class that has samples gets at least one. The choice depends only on the
    ids.

    Args:
      samples: n samples.
      num_classes: every label is below it.
      count: number of samples to take; at most n are taken.

    Returns:
      int64 (min(count, n),) row numbers, sorted by id.
    """
    count = min(count, len(samples))
    counts = samples.counts(num_classes)
    if count == 0:
        return np.zeros(0, np.int64)
    sizes, remainders = np.divmod(counts * count, len(samples))
    by_remainder = np.argsort(-remainders, kind="stable")
    sizes[by_remainder[: count - sizes.sum()]] += 1
    if count >= num_classes:
        for label in np.flatnonzero((sizes == 0) & (counts > 0)):
            sizes[np.argmax(sizes)] -= 1
            sizes[label] = 1
    return _first_of_each_class(samples, sizes.tolist(), "validation")


def split_by_hash(
    samples: Samples, num_classes: int, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Splits each class in two; the split depends only on the ids.

    Args:
      samples: at least two samples of each class.
      num_classes: every label is below it.
      fraction: fraction of each class to test on, rounded down; at least one
        sample of a class is left on either side.

    Returns:
      Row numbers to train on and to test on, int64, each sorted by id.

    Raises:
      ValueError: a class has fewer than two samples, or the groups cannot be
        divided so that each class is on both sides.
    """
    counts = samples.counts(num_classes).tolist()
    if min(counts) < 2:
        raise ValueError("a class has fewer than two samples")
    sizes = [min(n - 1, max(1, int(n * _decimal(fraction)))) for n in counts]
    if samples.groups:
        chosen = groups.closest(_order(samples, "split"), sizes)
        if chosen is None:
            raise ValueError("the groups cannot be divided")
        test = _sorted_by_id(samples, np.flatnonzero(chosen))
    else:
        test = _first_of_each_class(samples, sizes, "split")
    rest = sorted(
        set(range(len(samples))) - set(test.tolist()),
        key=lambda row: samples.ids[row],
    )
    return np.array(rest, np.int64), test


def split_flat(
    samples: Samples,
    class_names: tuple[str, ...],
    fraction: float,
    *,
    dataset: str,
    remedy: str,
) -> tuple[Samples, Samples]:
    """Splits a data set without a test split into train and test samples.

    Args:
      samples: all samples of the data set.
      class_names: in the order of the labels.
      fraction: see `split_by_hash`.
      dataset: the name that the user gave, for the error.
      remedy: what to do about a class that is too small, for the error.

    Returns:
      The samples to train on, and those to test on.

    Raises:
      TrainerError: a class has fewer than two samples, or all in one group.
    """
    for name, n in zip(
        class_names, samples.counts(len(class_names)).tolist(), strict=True
    ):
        if n < 2:
            raise TrainerError(
                f"--dataset={dataset!r}: class {name!r} has"
                f" {'1 image' if n else 'no images'}; without a test split"
                " each class needs two, one to train and one to test on:"
                f" {remedy}"
            )
    _check_divisible(samples, class_names, dataset)
    try:
        train, test = split_by_hash(samples, len(class_names), fraction)
    except ValueError as error:
        raise TrainerError(
            f"--dataset={dataset!r}: no test split with whole groups leaves"
            " every class images to train and to test on; give the data set a"
            " test split of its own, or smaller groups"
        ) from error
    return samples.take(train), samples.take(test)


def _check_divisible(
    samples: Samples, class_names: tuple[str, ...], dataset: str
) -> None:
    if not samples.groups:
        return
    found = groups.groups_per_class(_order(samples, "split"))
    for label, name in enumerate(class_names):
        if found[label] < 2:
            row = int(np.flatnonzero(samples.labels == label)[0])
            raise TrainerError(
                f"--dataset={dataset!r}: class {name!r} has one group,"
                f" {samples.groups[row]!r}; without a test split each class"
                " needs two, one to train and one to test on: add images of"
                " another group, or give the data set a test split of its own"
            )


def validation_count(
    test_examples: int, batch_size: int, fraction: float
) -> int:
    """Returns the number of test examples to validate on.

    These are max(1, floor(fraction * batches)) whole batches, in decimal
    arithmetic, but at most all examples.
    """
    batches = -(-test_examples // batch_size)
    wanted = max(1, int(_decimal(fraction) * batches))
    return min(test_examples, wanted * batch_size)


def _subset_salt(seed: int) -> str:
    return f"subset {seed}"


def _subset_order(samples: Samples, seed: int) -> groups.Grouping:
    return _order(samples, _subset_salt(seed))


def _order(samples: Samples, salt: str) -> groups.Grouping:
    """Returns the groups of samples that have groups, in a hash's order."""
    return groups.make_grouping(
        samples.ids,
        samples.labels,
        samples.groups,
        num_classes=int(samples.labels.max(initial=-1)) + 1,
        salt=salt,
    )


def _sorted_by_id(samples: Samples, rows: np.ndarray) -> np.ndarray:
    found = sorted(rows.tolist(), key=lambda row: samples.ids[row])
    return np.array(found, np.int64)


def _class_ranks(samples: Samples, salt: str) -> np.ndarray:
    """Returns the rank of each sample in its class, ordered by a hash.

    Args:
      samples: n samples.
      salt: different salts give independent orders.

    Returns:
      int64 (n,), from 0.
    """

    def key(row: int) -> tuple[bytes, str]:
        text = f"{salt}\n{samples.ids[row]}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return digest, samples.ids[row]

    ranks = np.zeros(len(samples), np.int64)
    found: collections.Counter[int] = collections.Counter()
    labels = samples.labels.tolist()
    for row in sorted(range(len(samples)), key=key):
        ranks[row] = found[labels[row]]
        found[labels[row]] += 1
    return ranks


def _first_of_each_class(
    samples: Samples, sizes: list[int], salt: str
) -> np.ndarray:
    """Returns the first `sizes[label]` rows of each class, ordered by a hash.

    Args:
      samples: any number of samples.
      sizes: number of rows to take of each class.
      salt: see `_class_ranks`.

    Returns:
      int64 row numbers, sorted by id.
    """
    limits = np.array(sizes, np.int64)[samples.labels]
    taken = np.flatnonzero(_class_ranks(samples, salt) < limits)
    return _sorted_by_id(samples, taken)
