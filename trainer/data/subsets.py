"""Which samples are taken: by hashes of their ids, never by file order."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import numpy as np

from trainer.data.samples import Samples
from trainer.errors import TrainerError


def _decimal(number: float) -> Decimal:
    # Via repr: the number the user wrote, not the binary fraction behind it.
    return Decimal(repr(float(number)))


def subset_size(n_class: int, pct: float) -> int:
    """max(1, floor(n_class * pct / 100)), in decimal arithmetic."""
    return max(1, int(n_class * _decimal(pct) / 100))


def nested_subset(
    samples: Samples, num_classes: int, pct: float, seed: int
) -> np.ndarray:
    """Rows of a stratified subset; that of a smaller `pct` is inside it.

    Args:
      samples: n of them.
      num_classes: labels are below it.
      pct: percentage of each class, 0 < pct <= 100; of a class with samples
        at least one is taken.
      seed: which subset.

    Returns:
      int64 row numbers, sorted by id.
    """
    sizes = [
        min(n, subset_size(n, pct))
        for n in samples.counts(num_classes).tolist()
    ]
    return _first_of_each_class(samples, sizes, f"subset {seed}")


def stratified_sample(
    samples: Samples, num_classes: int, count: int
) -> np.ndarray:
    """Rows of a fixed sample, spread over the classes as the samples are.

    By largest remainders; a class with samples has at least one where `count`
    allows. The choice depends on the ids alone.

    Args:
      samples: n of them.
      num_classes: labels are below it.
      count: how many to take; at most n are.

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
    """Splits each class in two; the split depends on the ids alone.

    Args:
      samples: at least two of each class.
      num_classes: labels are below it.
      fraction: of each class to test on, rounded down, but at least one, and
        one is left to train on.

    Returns:
      Row numbers to train on and to test on, int64, each sorted by id.

    Raises:
      ValueError: a class has fewer than two samples.
    """
    counts = samples.counts(num_classes).tolist()
    if min(counts) < 2:
        raise ValueError("a class has fewer than two samples")
    sizes = [min(n - 1, max(1, int(n * _decimal(fraction)))) for n in counts]
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
    """What to train on and what to test on, where the data has one split.

    Args:
      samples: all there are.
      class_names: of the labels.
      fraction: see `split_by_hash`.
      dataset: as the user named it, for the error.
      remedy: what to do about a class that is too small, for the error.

    Raises:
      TrainerError: a class is too small to be split.
    """
    for name, n in zip(
        class_names, samples.counts(len(class_names)).tolist(), strict=True
    ):
        if n < 2:
            raise TrainerError(
                f"--dataset={dataset!r}: class {name!r} has"
                f" {n or 'no'} image{'s' * (n != 1)}; without a test split"
                " each class needs two, one to train and one to test on:"
                f" {remedy}"
            )
    train, test = split_by_hash(samples, len(class_names), fraction)
    return samples.take(train), samples.take(test)


def validation_count(
    test_examples: int, batch_size: int, fraction: float
) -> int:
    """How many test examples to validate on: whole batches of them.

    max(1, floor(fraction * batches)) batches, in decimal arithmetic, and no
    more examples than there are.
    """
    batches = -(-test_examples // batch_size)
    wanted = max(1, int(_decimal(fraction) * batches))
    return min(test_examples, wanted * batch_size)


def _first_of_each_class(
    samples: Samples, sizes: list[int], salt: str
) -> np.ndarray:
    """The first `sizes[label]` rows of each class in the order of a hash.

    Args:
      samples: any number.
      sizes: how many of each class.
      salt: orders by different salts are independent.

    Returns:
      int64 row numbers, sorted by id.
    """

    def rank(row: int) -> tuple[bytes, str]:
        text = f"{salt}\n{samples.ids[row]}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return digest, samples.ids[row]

    left = list(sizes)
    labels = samples.labels.tolist()
    taken = []
    for row in sorted(range(len(samples)), key=rank):
        if left[labels[row]]:
            left[labels[row]] -= 1
            taken.append(row)
    taken.sort(key=lambda row: samples.ids[row])
    return np.array(taken, np.int64)
