"""Subsets are nested, stratified and independent of the file order."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from trainer.data.samples import WHOLE_FILE, Samples
from trainer.data.subsets import (
    fold_numbers,
    held_out,
    held_out_count,
    nested_subset,
    split_by_hash,
    split_flat,
    stratified_sample,
    subset_size,
    validation_count,
)
from trainer.errors import TrainerError


def make_samples(*counts: int) -> Samples:
    ids = [
        f"class{label}/{i:04}.jpg"
        for label, count in enumerate(counts)
        for i in range(count)
    ]
    return Samples(
        ids=tuple(ids),
        labels=np.repeat(np.arange(len(counts)), counts).astype(np.int32),
        paths=tuple(f"/photos/{i}" for i in ids),
        offsets=np.zeros(len(ids), np.int64),
        lengths=np.full(len(ids), WHOLE_FILE, np.int64),
    )


def shuffled(samples: Samples) -> Samples:
    return samples.take(np.random.default_rng(0).permutation(len(samples)))


@pytest.mark.parametrize(
    ("n_class", "pct", "expected"),
    [
        pytest.param(750, 1, 7, id="one_percent"),
        pytest.param(750, 10, 75, id="ten_percent"),
        pytest.param(750, 100, 750, id="all"),
        pytest.param(1000, 0.1, 1, id="a_tenth_of_a_percent"),
        pytest.param(50, 1, 1, id="at_least_one"),
        # 100 * 0.29 is 28.999999999999996 in binary.
        pytest.param(10000, 0.29, 29, id="decimal_not_binary"),
        pytest.param(1000, 1e-7, 1, id="exponent"),
    ],
)
def test_subset_size_is_exact_in_decimals(
    n_class: int, pct: float, expected: int
) -> None:
    assert subset_size(n_class, pct) == expected


def test_subsets_nest_and_are_stratified() -> None:
    samples = make_samples(750, 130, 40)
    parts = {
        pct: nested_subset(samples, 3, pct, seed=5)
        for pct in (1, 10, 37.5, 100)
    }
    counts = {
        pct: samples.take(rows).counts(3).tolist()
        for pct, rows in parts.items()
    }
    assert counts == {
        1: [7, 1, 1],
        10: [75, 13, 4],
        37.5: [281, 48, 15],
        100: [750, 130, 40],
    }
    assert set(parts[1]) < set(parts[10]) < set(parts[37.5]) < set(parts[100])


def test_subset_does_not_depend_on_file_order() -> None:
    samples = make_samples(30, 20)
    other = shuffled(samples)
    mine = samples.take(nested_subset(samples, 2, 20, seed=1)).ids
    theirs = other.take(nested_subset(other, 2, 20, seed=1)).ids
    assert mine == theirs
    assert list(mine) == sorted(mine)


def test_another_seed_selects_other_samples() -> None:
    samples = make_samples(200)
    first = set(nested_subset(samples, 1, 10, seed=0))
    second = set(nested_subset(samples, 1, 10, seed=1))
    assert len(first) == len(second) == 20
    assert len(first & second) < 10


def test_a_class_without_samples_stays_empty() -> None:
    samples = make_samples(10, 0, 10)
    rows = nested_subset(samples, 3, 10, seed=0)
    assert samples.take(rows).counts(3).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("counts", "count", "expected"),
    [
        pytest.param((250, 250), 64, [32, 32], id="even"),
        # Quotas 5.0, 3.0, 2.0.
        pytest.param((50, 30, 20), 10, [5, 3, 2], id="whole_quotas"),
        # Quotas 3.5, 2.1, 1.4: the remaining one goes to the largest remainder.
        pytest.param((50, 30, 20), 7, [4, 2, 1], id="largest_remainder"),
        # Quotas 9.8, 0.1, 0.1.
        pytest.param((980, 10, 10), 10, [8, 1, 1], id="at_least_one"),
        pytest.param((98, 1, 1), 2, [2, 0, 0], id="fewer_than_classes"),
        pytest.param((5, 3), 100, [5, 3], id="more_than_there_are"),
        # Quotas 2.5, 0, 1.5: of equal remainders the first class wins.
        pytest.param((5, 0, 3), 4, [3, 0, 1], id="empty_class"),
    ],
)
def test_a_stratified_sample_has_largest_remainder_sizes(
    counts: tuple[int, ...], count: int, expected: list[int]
) -> None:
    samples = make_samples(*counts)
    rows = stratified_sample(samples, len(counts), count)
    assert samples.take(rows).counts(len(counts)).tolist() == expected
    assert len(set(rows.tolist())) == len(rows)


def test_stratified_sample_does_not_depend_on_file_order() -> None:
    samples = make_samples(30, 20)
    other = shuffled(samples)
    assert (
        samples.take(stratified_sample(samples, 2, 9)).ids
        == other.take(stratified_sample(other, 2, 9)).ids
    )


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        pytest.param((10, 20), 0.2, [2, 4], id="a_fifth"),
        pytest.param((2, 3), 0.01, [1, 1], id="at_least_one_to_test"),
        pytest.param((2, 3), 0.99, [1, 2], id="at_least_one_to_train"),
        pytest.param((100, 100), 0.29, [29, 29], id="decimal_not_binary"),
    ],
)
def test_split_by_hash_rounds_down_and_leaves_one(
    counts: tuple[int, ...], fraction: float, expected: list[int]
) -> None:
    samples = make_samples(*counts)
    train, test = split_by_hash(samples, 2, fraction)
    assert samples.take(test).counts(2).tolist() == expected
    assert sorted([*train, *test]) == list(range(sum(counts)))


def test_a_split_depends_only_on_the_ids() -> None:
    samples = make_samples(30, 20)
    other = shuffled(samples)
    for mine, theirs in zip(
        split_by_hash(samples, 2, 0.2),
        split_by_hash(other, 2, 0.2),
        strict=True,
    ):
        assert samples.take(mine).ids == other.take(theirs).ids


def test_split_subset_and_sample_are_independent() -> None:
    samples = make_samples(400)
    test = set(split_by_hash(samples, 1, 0.25)[1].tolist())
    subset = set(nested_subset(samples, 1, 25, seed=0).tolist())
    sample = set(stratified_sample(samples, 1, 100).tolist())
    # 25 are expected for each pair; the same salt would give 100.
    for pair in (test & subset, test & sample, subset & sample):
        assert 10 < len(pair) < 45


@pytest.mark.parametrize(("n", "count"), [(1, "1 image;"), (0, "no images;")])
def test_a_class_too_small_to_split_is_named(n: int, count: str) -> None:
    with pytest.raises(TrainerError) as error:
        split_flat(
            make_samples(5, n),
            ("pie", "sushi"),
            0.2,
            dataset="photos",
            remedy="add images",
        )
    assert str(error.value) == (
        f"--dataset='photos': class 'sushi' has {count} without a test split"
        " each class needs two, one to train and one to test on: add images"
    )


@pytest.mark.parametrize(
    ("examples", "batch", "fraction", "expected"),
    [
        # A quarter of 79 batches is 19.75.
        pytest.param(2500, 32, 0.25, 608, id="reference"),
        pytest.param(150, 32, 0.25, 32, id="one_of_five"),
        pytest.param(20, 32, 0.25, 20, id="no_more_than_there_are"),
        pytest.param(150, 32, 1.0, 150, id="all"),
        pytest.param(3200, 32, 0.29, 928, id="decimal_not_binary"),
    ],
)
def test_validation_uses_whole_batches(
    examples: int, batch: int, fraction: float, expected: int
) -> None:
    assert validation_count(examples, batch, fraction) == expected


@pytest.mark.parametrize(
    ("n_class", "fraction", "expected"),
    [
        pytest.param(1, "0.5", 0, id="a_single_sample_is_trained_on"),
        pytest.param(2, "0.1", 1, id="at_least_one"),
        pytest.param(19, "0.1", 1, id="rounded_down"),
        pytest.param(20, "0.1", 2, id="a_tenth"),
        pytest.param(7, "0.5", 3, id="half"),
        # 100 * 0.29 is 28.999999999999996 in binary.
        pytest.param(100, "0.29", 29, id="decimal_not_binary"),
    ],
)
def test_number_of_samples_held_out(
    n_class: int, fraction: str, expected: int
) -> None:
    assert held_out_count(n_class, Decimal(fraction)) == expected
    chosen = held_out(make_samples(n_class, 4), Decimal(fraction), seed=3)
    assert chosen[:n_class].sum() == expected


def subset_of(samples: Samples, pct: float) -> Samples:
    return samples.take(nested_subset(samples, 3, pct, seed=5))


@pytest.mark.parametrize("fraction", ["0.1", "0.3", "0.5"])
def test_no_sample_changes_its_role_as_the_subset_grows(fraction: str) -> None:
    samples = make_samples(200, 43, 9)
    train: set[str] = set()
    validation: set[str] = set()
    for pct in (0.5, 1, 2, 5, 10, 33, 50, 99, 100):
        subset = subset_of(shuffled(samples), pct)
        chosen = held_out(subset, Decimal(fraction), seed=5)
        now = set(subset.take(np.flatnonzero(chosen)).ids)
        assert validation <= now
        assert train <= set(subset.ids) - now
        train, validation = set(subset.ids) - now, now
    sizes = [max(1, int(n * Decimal(fraction))) for n in (200, 43, 9)]
    assert len(validation) == sum(sizes)


@pytest.mark.parametrize("folds", [2, 3, 5, 20])
def test_folds_are_stratified_and_stable(folds: int) -> None:
    samples = make_samples(101, 43, 20)
    numbers = fold_numbers(samples, folds, seed=5)
    found = dict(zip(samples.ids, numbers.tolist(), strict=True))
    assert set(found.values()) == set(range(1, folds + 1))
    for label in range(3):
        sizes = np.bincount(numbers[samples.labels == label])[1:]
        assert sizes.max() - sizes.min() <= 1
    part = subset_of(shuffled(samples), 50)
    for sample_id, fold in zip(
        part.ids, fold_numbers(part, folds, seed=5).tolist(), strict=True
    ):
        assert found[sample_id] == fold


def test_the_seed_chooses_the_folds() -> None:
    samples = make_samples(50, 50)
    one, two = (fold_numbers(samples, 5, seed) for seed in (0, 1))
    assert (one != two).any()
