"""No group is divided; groups of one image follow the rules of subsets."""

from __future__ import annotations

import dataclasses
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from trainer.data import groups
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.data.subsets import (
    fold_numbers,
    held_out,
    held_out_count,
    nested_subset,
    split_by_hash,
    split_flat,
)
from trainer.errors import TrainerError

PERCENTAGES = (0.5, 1, 5, 10, 33, 50, 99, 100)


def ordered(*texts: str) -> groups.Grouping:
    """Returns groups in this order; "aab" has two images of class 0."""
    rows, start = [], 0
    for text in texts:
        rows.append(np.arange(start, start + len(text)))
        start += len(text)
    pairs = [
        sorted(Counter(ord(c) - ord("a") for c in t).items()) for t in texts
    ]
    return groups.Grouping(
        rows=tuple(rows),
        classes=tuple(np.array([c for c, _ in p]) for p in pairs),
        counts=tuple(np.array([n for _, n in p]) for p in pairs),
        num_classes=1 + max(c for p in pairs for c, _ in p),
    )


def per_group(grouping: groups.Grouping, values: np.ndarray) -> list[int]:
    """Returns one value per group; fails if a group is divided."""
    found = [set(values[rows].tolist()) for rows in grouping.rows]
    assert all(len(values) == 1 for values in found)
    return [int(values.pop()) for values in found]


@pytest.mark.parametrize(
    ("texts", "sizes", "expected"),
    [
        pytest.param(["a", "a", "b"], [1, 1], [1, 0, 1], id="single_images"),
        pytest.param(
            ["aaa", "a", "a"], [1], [1, 0, 0], id="the_first_is_large"
        ),
        pytest.param(["aa", "aaa", "a"], [3], [1, 0, 0], id="a_prefix_only"),
        pytest.param(["aa", "aaa", "a"], [5], [1, 1, 0], id="exactly_full"),
        # Class b takes the second group, and with it an image of a.
        pytest.param(["aa", "ab", "a"], [2, 1], [1, 1, 0], id="mixed"),
        pytest.param(["ab", "ab", "ab"], [2, 2], [1, 1, 0], id="persons"),
    ],
)
def test_a_subset_takes_whole_groups_in_order(
    texts: list[str], sizes: list[int], expected: list[int]
) -> None:
    grouping = ordered(*texts)
    chosen = groups.prefix(grouping, sizes)
    assert per_group(grouping, chosen) == expected


@pytest.mark.parametrize(
    ("texts", "sizes", "expected"),
    [
        pytest.param(["a", "a", "a"], [2], [1, 1, 0], id="single_images"),
        # 3 is closer to 2 than 0 is.
        pytest.param(["aaa", "a", "aaa"], [2], [1, 0, 0], id="closest"),
        # 4 is as far from 2 as 0 is; the next one fits.
        pytest.param(["aaaa", "aa", "aaa"], [2], [0, 1, 0], id="fills"),
        # No group is closer to 1, so the smallest is taken.
        pytest.param(["aaa", "aa", "aaaa"], [1], [0, 1, 0], id="forced"),
        # Taking the first would leave no b to train on.
        pytest.param(["ab", "a", "ab"], [1, 1], [1, 0, 0], id="persons"),
        pytest.param(["abb", "a", "a"], [1, 1], None, id="one_group_of_b"),
    ],
)
def test_a_split_comes_closest_to_what_is_wanted(
    texts: list[str], sizes: list[int], expected: list[int] | None
) -> None:
    grouping = ordered(*texts)
    chosen = groups.closest(grouping, sizes)
    assert (None if chosen is None else per_group(grouping, chosen)) == expected


@pytest.mark.parametrize(
    ("texts", "fraction", "expected"),
    [
        # held_out_count of 1 to 6 images: 0, 1, 1, 1, 1, 2 at 0.34.
        pytest.param(["a"] * 6, "0.34", [0, 1, 0, 0, 0, 1], id="single_images"),
        # Wanted after each group: 1, 1, 2 and 2 of 2, 4, 6 and 8 images.
        pytest.param(["aa"] * 4, "0.34", [0, 1, 0, 0], id="pairs"),
        # Wanted after each group: 1, 3, 5 and 6. The second is held; with 4
        # more, 7 are not closer to 5 than 3 are.
        pytest.param(
            ["aaa", "aaa", "aaaa", "aa"], "0.5", [0, 1, 0, 1], id="half"
        ),
        # The first group of each class is trained on.
        pytest.param(["ab", "ac", "bc", "a"], "0.5", [0, 0, 1, 1], id="mixed"),
    ],
)
def test_held_out_groups_depend_on_earlier_ones(
    texts: list[str], fraction: str, expected: list[int]
) -> None:
    grouping = ordered(*texts)
    chosen = groups.nested_held_out(grouping, held_out_count, Decimal(fraction))
    assert per_group(grouping, chosen) == expected
    for count in range(1, len(texts)):
        part = ordered(*texts[:count])
        earlier = groups.nested_held_out(
            part, held_out_count, Decimal(fraction)
        )
        assert per_group(part, earlier) == expected[:count]


@pytest.mark.parametrize(
    ("texts", "folds", "expected"),
    [
        pytest.param(["a", "b", "a", "b"], 2, [1, 2, 2, 1], id="single_images"),
        pytest.param(["aaa", "a", "a", "a"], 2, [1, 2, 2, 2], id="sizes"),
        # Costs of the third: 2 * 1 + 1 * 0 in fold 1, 1 * 2 in fold 2; equal,
        # so that the fold of class a, the first, is taken.
        pytest.param(["a", "bb", "aab"], 2, [1, 2, 1], id="weighted"),
    ],
)
def test_a_group_goes_to_the_emptiest_fold(
    texts: list[str], folds: int, expected: list[int]
) -> None:
    grouping = ordered(*texts)
    numbers = groups.nested_folds(grouping, folds)
    assert per_group(grouping, numbers) == expected


def single(*counts: int) -> Samples:
    """Returns samples without groups."""
    labels = np.repeat(np.arange(len(counts)), counts)
    ids = tuple(f"{label}/{row:04}" for row, label in enumerate(labels))
    return Samples(
        ids=ids,
        labels=labels.astype(np.int32),
        paths=ids,
        offsets=np.zeros(len(ids), np.int64),
        lengths=np.full(len(ids), WHOLE_FILE, np.int64),
    )


@pytest.mark.parametrize("named", [False, True])
def test_groups_of_one_image_change_nothing(named: bool) -> None:
    plain = single(97, 41, 2)
    names = plain.ids if named else ("",) * len(plain)
    grouped = dataclasses.replace(plain, groups=names)
    for pct in PERCENTAGES:
        one, two = (nested_subset(s, 3, pct, 5) for s in (plain, grouped))
        assert one.tolist() == two.tolist()
    for fraction in (0.01, 0.2, 0.9):
        for one, two in zip(
            split_by_hash(plain, 3, fraction),
            split_by_hash(grouped, 3, fraction),
            strict=True,
        ):
            assert one.tolist() == two.tolist()
    for part in ("0.1", "0.34", "0.5"):
        one, two = (held_out(s, Decimal(part), 5) for s in (plain, grouped))
        assert one.tolist() == two.tolist()
    for folds in (2, 5, 20):
        one, two = (fold_numbers(s, folds, 5) for s in (plain, grouped))
        assert one.tolist() == two.tolist()


def photographed(persons: int, seed: int = 0) -> Samples:
    """Returns photos of persons, each with some of three classes."""
    random = np.random.default_rng(seed)
    labels, names = [], []
    for person in range(persons):
        count = int(random.integers(1, 12))
        labels += random.choice(3, count, p=[0.6, 0.3, 0.1]).tolist()
        names += [f"person {person}"] * count
    ids = tuple(f"{row:05}" for row in range(len(labels)))
    return Samples(
        ids=ids,
        labels=np.array(labels, np.int32),
        paths=ids,
        offsets=np.zeros(len(ids), np.int64),
        lengths=np.full(len(ids), WHOLE_FILE, np.int64),
        groups=tuple(names),
    )


def names_of(samples: Samples, rows: np.ndarray) -> set[str]:
    return {samples.groups[row] for row in rows.tolist()}


def test_no_person_is_on_both_sides() -> None:
    samples = photographed(120)
    train, test = split_by_hash(samples, 3, 0.2)
    assert not names_of(samples, train) & names_of(samples, test)
    share = samples.take(test).counts(3) / samples.counts(3)
    assert np.abs(share - 0.2).max() < 0.06
    order = np.random.default_rng(1).permutation(len(samples))
    other = samples.take(order)
    assert (
        samples.take(test).ids
        == other.take(split_by_hash(other, 3, 0.2)[1]).ids
    )


def test_subsets_of_persons_nest_and_keep_roles() -> None:
    samples = photographed(120)
    roles = held_out(samples, Decimal("0.2"), seed=5)
    assert not names_of(samples, np.flatnonzero(roles)) & names_of(
        samples, np.flatnonzero(~roles)
    )
    before: set[int] = set()
    for pct in PERCENTAGES:
        rows = nested_subset(samples, 3, pct, seed=5)
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
        rest = set(range(len(samples))) - before
        assert not names_of(samples, rows) & names_of(
            samples, np.array(sorted(rest), np.int64)
        )
        train = samples.take(rows[~roles[rows]])
        assert train.counts(3).min() > 0
    assert len(before) == len(samples)
    assert abs(roles.mean() - 0.2) < 0.03


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_of_persons_are_even(folds: int) -> None:
    samples = photographed(120)
    numbers = fold_numbers(samples, folds, seed=5)
    sizes = np.bincount(numbers)[1:]
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 12
    for fold in range(1, folds + 1):
        inside = numbers == fold
        assert not names_of(samples, np.flatnonzero(inside)) & names_of(
            samples, np.flatnonzero(~inside)
        )


def test_shots_are_nested_counts_of_each_class() -> None:
    samples = single(40, 7, 2)
    before: set[int] = set()
    for shots in (1, 2, 5, 100):
        rows = nested_subset(samples, 3, 100.0, 5, shots=shots)
        counts = samples.take(rows).counts(3).tolist()
        assert counts == [min(n, shots) for n in (40, 7, 2)]
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
    # 5 shots are 12.5 % of 40 images.
    rows = nested_subset(samples.take(np.arange(40)), 1, 12.5, 5)
    five = nested_subset(samples.take(np.arange(40)), 1, 100.0, 5, shots=5)
    assert rows.tolist() == five.tolist()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("x", "y", "z", "z"),
            "class 'b' has one group, 'z'; without a test split each class"
            " needs two",
        ),
        (("x", "y", "x", "y", "z", "z"), "class 'c' has one group, 'z'"),
    ],
    ids=["two", "three"],
)
def test_a_class_of_one_group_is_named(
    names: tuple[str, ...], words: str
) -> None:
    samples = dataclasses.replace(
        single(*[2] * (len(names) // 2)), groups=names
    )
    with pytest.raises(TrainerError) as error:
        split_flat(
            samples,
            ("a", "b", "c")[: len(names) // 2],
            0.2,
            dataset="d.csv",
            remedy="add images",
        )
    assert words in str(error.value)
