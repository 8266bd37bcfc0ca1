"""Splits, subsets and folds of samples with several labels."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from trainer.data.label_sets import (
    deal,
    label_folds,
    label_sample,
    labels_held_out,
    nested_label_subset,
    split_labels,
)
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import TrainerError


def samples_of(labels: np.ndarray, groups: Sequence[str] = ()) -> Samples:
    n = len(labels)
    ids = tuple(f"{row:04}" for row in range(n))
    return Samples(
        ids=ids,
        labels=labels.astype(np.uint8),
        paths=ids,
        offsets=np.zeros(n, np.int64),
        lengths=np.full(n, WHOLE_FILE, np.int64),
        groups=tuple(groups),
    )


def random_labels(n: int = 400, seed: int = 0) -> np.ndarray:
    """Frequent, rare and dependent labels, and images without any."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(size=n) < 0.5
    return np.stack(
        [
            first,
            first & (rng.uniform(size=n) < 0.4),
            rng.uniform(size=n) < 0.2,
            rng.uniform(size=n) < 0.03,
        ],
        axis=1,
    )


def rows_of(found: np.ndarray, n: int) -> np.ndarray:
    return np.isin(np.arange(n), found)


# Rows of labels a b c, and the part of each. Worked out by hand: the rarest
# label first, its units in order, each to the part that lacks it most; of
# equals, the part with more room, and then the first.
TABLES = {
    # b and c are equally rare; b is first: 3 -> A, 5 -> B. Then c: 0 -> A, 4
    # -> B. Then a, which both lack equally, with equal room: 1 -> A, 2 -> B.
    "pairs": (
        [(1, 0, 1), (1, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1), (0, 1, 0)],
        (0.5, 0.5),
        [0, 0, 1, 0, 1, 1],
    ),
    # Without labels only the room decides: 3 : 1.
    "none": ([(0, 0, 0)] * 4, (0.75, 0.25), [0, 0, 0, 1]),
    # b lacks 0.5 in both parts and goes to A; a then lacks 1 in A, 2 in B.
    "both": (
        [(1, 1, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0)],
        (0.5, 0.5),
        [0, 1, 0, 1],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_units_are_dealt_by_the_rarest_label(name: str) -> None:
    rows, shares, expected = TABLES[name]
    counts = np.array(rows, np.int64)
    assert deal(counts, np.ones(len(rows), np.int64), shares).tolist() == (
        expected
    )


def test_fixed_units_stay_and_count() -> None:
    counts = np.ones((4, 1), np.int64)
    fixed = np.array([-1, -1, 1, 1])
    found = deal(counts, np.ones(4, np.int64), (0.5, 0.5), fixed)
    assert found.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("pct", [5, 10, 25, 60])
def test_a_subset_has_the_shares_of_the_whole(pct: float) -> None:
    labels = random_labels()
    samples = samples_of(labels)
    chosen = nested_label_subset(samples, pct, seed=1)
    wanted = labels.sum(axis=0) * pct / 100
    found = labels[chosen].sum(axis=0)
    # A class's first image is always in; one more by rounding of each half.
    assert np.abs(found - wanted).max() <= 3
    assert (found >= 1).all()
    assert 0 <= len(chosen) - 400 * pct / 100 <= 4


@pytest.mark.parametrize("grouped", [False, True])
def test_subsets_are_nested(grouped: bool) -> None:
    groups = [f"g{row // 7}" for row in range(400)] if grouped else ()
    samples = samples_of(random_labels(), groups)
    earlier: set[int] = set()
    for pct in (0.5, 1, 3, 10, 24.9, 25, 50, 99, 100):
        now = set(nested_label_subset(samples, pct, seed=3).tolist())
        assert earlier <= now
        earlier = now
    assert len(earlier) == 400
    other = nested_label_subset(samples, 10, seed=4)
    assert set(other.tolist()) != set(
        nested_label_subset(samples, 10, seed=3).tolist()
    )


def test_the_order_of_rows_does_not_matter() -> None:
    labels = random_labels()
    samples = samples_of(labels)
    mixed = samples.take(np.random.default_rng(0).permutation(400))
    for one in (samples, mixed):
        rows = nested_label_subset(one, 20, seed=0)
        ids = [one.ids[row] for row in rows]
        assert ids == sorted(ids)
    assert ids == [
        samples.ids[r] for r in nested_label_subset(samples, 20, seed=0)
    ]


def test_held_out_images_have_the_shares_of_the_whole() -> None:
    labels = random_labels()
    held = labels_held_out(samples_of(labels), Decimal("0.1"), seed=0)
    wanted = labels.sum(axis=0) * 0.1
    assert np.abs(labels[held].sum(axis=0) - wanted).max() <= 1
    assert abs(held.sum() - 40) <= 4


def test_a_class_of_two_images_has_one_on_each_side() -> None:
    labels = np.zeros((30, 3), bool)
    labels[:, 0] = True
    labels[[4, 17], 1] = True
    labels[9, 2] = True
    train, test = split_labels(samples_of(labels), 0.2, dataset="x.csv")
    assert sorted(train.ids + test.ids) == [f"{row:04}" for row in range(30)]
    assert train.counts(3).tolist() == [24, 1, 1]
    assert test.counts(3).tolist() == [6, 1, 0]


def test_groups_are_never_divided() -> None:
    labels = random_labels()
    names = [f"g{row // 5}" for row in range(400)]
    samples = samples_of(labels, names)
    train, test = split_labels(samples, 0.25, dataset="x.csv")
    assert not set(train.groups) & set(test.groups)
    assert np.abs(test.counts(4) - labels.sum(axis=0) * 0.25).max() <= 5
    held = labels_held_out(samples, Decimal("0.2"), seed=0)
    subset = rows_of(nested_label_subset(samples, 30, seed=0), 400)
    folds = label_folds(samples.ids, labels, names, folds=5, salt="s")
    for values in (held, subset, folds):
        assert (values.reshape(-1, 5) == values.reshape(-1, 5)[:, :1]).all()


def test_one_group_cannot_be_split() -> None:
    samples = samples_of(np.ones((4, 2), bool), ["a"] * 4)
    with pytest.raises(TrainerError, match="too few images to test on"):
        split_labels(samples, 0.2, dataset="x.csv")


@pytest.mark.parametrize("count", [0, 1, 37, 200, 400, 500])
def test_a_sample_has_the_size_asked_for(count: int) -> None:
    labels = random_labels()
    found = label_sample(samples_of(labels), count)
    size = min(count, 400)
    assert len(set(found.tolist())) == size
    wanted = labels.sum(axis=0) * size / 400
    assert np.abs(labels[found].sum(axis=0) - wanted).max() <= 2


def test_folds_are_even_and_keep_single_images() -> None:
    labels = random_labels()
    labels[:, 3] = False
    labels[7, 3] = True
    ids = samples_of(labels).ids
    folds = label_folds(ids, labels, (), folds=5, salt="s")
    assert folds[7] == -1
    assert (np.delete(folds, 7) >= 0).all()
    for fold in range(5):
        held = labels[folds == fold].sum(axis=0)[:3]
        assert np.abs(held - labels.sum(axis=0)[:3] / 5).max() <= 2
