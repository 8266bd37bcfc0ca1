"""The L2 strength by cross-validation: folds, path and choice."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.learning.head_path import (
    FOLDS,
    L2_VALUES,
    PathPoint,
    best_point,
    chosen_point,
    cross_validate,
    folds_of,
    path_record,
)
from trainer.learning.principal_axes import Rotated, rotated, standardisation


def ids_of(count: int) -> list[str]:
    return [f"class/{i:03}.jpg" for i in range(count)]


def test_path_has_values_from_large_to_small():
    assert len(L2_VALUES) >= 10
    assert L2_VALUES[0] == 100
    assert L2_VALUES[-1] == 1e-4
    assert list(L2_VALUES) == sorted(L2_VALUES, reverse=True)


def test_folds_are_stratified():
    labels = np.repeat([0, 1, 2], [20, 10, 7])
    folds = folds_of(ids_of(37), labels, seed=0)
    for label, counts in ((0, [4] * 5), (1, [2] * 5)):
        found = np.bincount(folds[labels == label], minlength=FOLDS)
        assert found.tolist() == counts
    assert sorted(np.bincount(folds[labels == 2], minlength=FOLDS)) == [
        *(1, 1, 1, 2, 2)
    ]


def test_folds_depend_on_id_and_seed_and_not_on_order():
    labels = np.repeat([0, 1], 15)
    ids = ids_of(30)
    folds = folds_of(ids, labels, seed=0)
    order = np.random.default_rng(0).permutation(30)
    again = folds_of([ids[i] for i in order], labels[order], seed=0)
    assert again.tolist() == folds[order].tolist()
    assert folds_of(ids, labels, seed=1).tolist() != folds.tolist()


def test_every_fold_trains_on_every_class():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 3, 9])
    folds = folds_of(ids_of(15), labels, seed=0)
    # A class of one sample is never held out.
    assert folds[labels == 0].tolist() == [-1]
    assert (folds[labels > 0] >= 0).all()
    for fold in range(FOLDS):
        assert set(labels[folds != fold]) == {0, 1, 2, 3}


def test_one_sample_of_each_class_leaves_none_to_hold_out():
    assert folds_of(ids_of(3), np.arange(3), seed=0).tolist() == [-1] * 3


def noisy(n: int = 120, d: int = 30) -> tuple[Rotated, np.ndarray]:
    """Two informative features, and noise that a loose head fits."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 2
    features = rng.normal(0, 1, (n, d))
    features[:, :2] += 0.9 * (2 * labels[:, None] - 1)
    features = features.astype(np.float32)
    return rotated(features, standardisation(features)), labels


def test_best_strength_is_inside_the_path():
    axes, labels = noisy()
    folds = folds_of(ids_of(len(labels)), labels, seed=0)
    path = cross_validate(axes, labels, 2, folds)
    assert [point.l2 for point in path] == list(L2_VALUES)
    best = best_point(path)
    assert 0.01 < best.l2 < 10
    # Both ends are clearly worse: no signal, and too much noise.
    for end in (path[0], path[-1]):
        assert end.loss > best.loss + best.standard_error


def test_held_out_samples_do_not_train():
    axes, labels = noisy(n=60)
    folds = np.where(np.arange(60) < 12, 0, -1)
    (point,) = cross_validate(axes, labels, 2, folds, l2_values=[1e-3])
    wrong = labels.copy()
    wrong[:12] = 1 - wrong[:12]
    (other,) = cross_validate(axes, wrong, 2, folds, l2_values=[1e-3])
    # The same predictions, and every label turned round.
    assert other.accuracy == pytest.approx(1 - point.accuracy)


def test_check_is_called_after_every_solution():
    axes, labels = noisy(n=20, d=3)
    folds = folds_of(ids_of(20), labels, seed=0)
    calls: list[None] = []
    cross_validate(
        axes,
        labels,
        2,
        folds,
        l2_values=[1, 0.1],
        check=lambda: calls.append(None),
    )
    assert len(calls) == 2 * FOLDS


def point(l2: float, loss: float, error: float = 0.0) -> PathPoint:
    return PathPoint(
        l2=l2,
        loss=loss,
        accuracy=0.5,
        standard_error=error,
        accuracy_standard_error=0.2,
    )


def test_of_equal_losses_the_largest_strength_wins():
    path = [point(1.0, 0.7), point(0.1, 0.6), point(0.01, 0.6)]
    assert best_point(path).l2 == chosen_point(path).l2 == 0.1


@pytest.mark.parametrize(
    ("error", "l2"),
    [(0.0, 0.01), (0.09, 0.01), (0.125, 0.1), (0.24, 0.1), (0.25, 10.0)],
)
def test_auto_is_the_largest_strength_within_one_error(error, l2):
    # The error that counts is that of the lowest loss, not the point's own.
    path = [
        point(100.0, 0.9, 5.0),
        point(10.0, 0.75),
        point(1.0, 0.8, 5.0),
        point(0.1, 0.625),
        point(0.01, 0.5, error),
        point(0.001, 0.55),
    ]
    assert best_point(path).l2 == 0.01
    assert chosen_point(path).l2 == l2


def test_record_of_the_path_names_both_strengths():
    record = path_record([point(1.0, 0.625), point(0.1, 0.5, 0.25)])
    assert record["l2"] == 1.0
    assert record["lowest_loss_l2"] == 0.1
    assert record["path"][1] == {
        "l2": 0.1,
        "loss": 0.5,
        "accuracy": 0.5,
        "standard_error": 0.25,
        "accuracy_standard_error": 0.2,
    }


def test_standard_errors_are_over_the_folds():
    axes, labels = noisy(n=60)
    folds = np.arange(60) % 3
    (found,) = cross_validate(axes, labels, 2, folds, l2_values=[1.0])
    means = []
    for fold in range(3):
        only = np.where(folds == fold, 0, -1)
        (alone,) = cross_validate(axes, labels, 2, only, l2_values=[1.0])
        assert alone.standard_error == alone.accuracy_standard_error == 0
        means.append((alone.loss, alone.accuracy))
    expected = np.std(means, axis=0, ddof=1) / np.sqrt(3)
    errors = (found.standard_error, found.accuracy_standard_error)
    assert errors == pytest.approx(tuple(expected), rel=1e-4)
