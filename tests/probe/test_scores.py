"""The scores of features, compared with scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from trainer.learning.head_path import folds_of
from trainer.probe.scores import (
    class_mean_accuracy,
    head_score,
    neighbours_accuracy,
)


def data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features of four overlapping classes, labels and folds."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), [30, 20, 10, 7])
    centres = rng.normal(size=(4, 12))
    features = centres[labels] + rng.normal(size=(67, 12)) * 1.5
    ids = [f"{n}.jpg" for n in range(67)]
    return (
        features.astype(np.float32),
        labels,
        folds_of(ids, labels, seed=seed),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("neighbours", [1, 5])
def test_neighbours_equal_those_of_scikit_learn(
    seed: int, neighbours: int
) -> None:
    features, labels, folds = data(seed)
    right, sure = np.zeros(67, bool), np.zeros(67, bool)
    for fold in range(5):
        held = folds == fold
        other = KNeighborsClassifier(neighbours, metric="cosine")
        other.fit(features[~held], labels[~held])
        shares = np.sort(other.predict_proba(features[held]), axis=1)
        right[held] = other.predict(features[held]) == labels[held]
        sure[held] = shares[:, -1] > shares[:, -2]
    # Scikit-learn decides equal votes by the number of the class.
    found = neighbours_accuracy(
        features, labels, 4, np.where(sure, folds, -1), neighbours=neighbours
    )
    if sure.all():
        assert found == pytest.approx(right.mean())
    whole = neighbours_accuracy(
        features, labels, 4, folds, neighbours=neighbours
    )
    low = (right & sure).mean()
    assert low - 1e-9 <= whole <= low + (~sure).mean() + 1e-9


def test_equal_votes_go_to_the_more_similar_class() -> None:
    """The held-out sample is at 0 degrees; its four neighbours have 2 : 2."""
    degrees = np.radians([0, 10, 20, 5, 40])
    features = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    folds = np.array([0, 1, 1, 1, 1])
    held = np.array([0, -1, -1, -1, -1])
    for own, other in ((0, 1), (1, 0)):
        labels = np.array([own, own, own, other, other])
        assert folds.max() == 1
        # 10 + 20 degrees are nearer in all than 5 + 40.
        assert neighbours_accuracy(
            features, labels, 2, held, neighbours=4
        ) == pytest.approx(1.0)


def test_blocks_do_not_change_the_neighbours() -> None:
    features, labels, folds = data(3)
    whole = neighbours_accuracy(features, labels, 4, folds)
    assert neighbours_accuracy(features, labels, 4, folds, block=3) == whole


def test_fewer_samples_than_neighbours() -> None:
    features = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    labels = np.array([0, 0, 1, 1])
    folds = np.array([0, 1, 0, 1])
    assert neighbours_accuracy(features, labels, 2, folds) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_class_means_equal_those_of_scikit_learn(seed: int) -> None:
    features, labels, folds = data(seed)
    unit = normalize(features)
    right = np.zeros(67, bool)
    for fold in range(5):
        held = folds == fold
        other = NearestCentroid().fit(unit[~held], labels[~held])
        right[held] = other.predict(unit[held]) == labels[held]
    found = class_mean_accuracy(features, labels, 4, folds)
    assert found == pytest.approx(right.mean())


def test_samples_that_no_fold_holds_out_do_not_count() -> None:
    """The class of one sample is only learned from."""
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 1]])
    labels = np.array([0, 0, 1, 1, 2])
    folds = np.array([0, 1, 2, 3, -1])
    assert class_mean_accuracy(features, labels, 3, folds) == 1.0
    assert neighbours_accuracy(
        features, labels, 3, folds, neighbours=1
    ) == pytest.approx(1.0)


def test_features_of_zeros_are_no_error() -> None:
    features = np.zeros((6, 4), np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    folds = np.array([0, 1, 2, 0, 1, 2])
    for score in (neighbours_accuracy, class_mean_accuracy):
        assert score(features, labels, 2, folds) == 0.5


def test_head_of_separable_classes_is_right_on_all() -> None:
    features, labels, folds = data(0)
    features[:, :4] += 50 * np.eye(4, dtype=np.float32)[labels]
    with threadpool_limits(1, user_api="blas"):
        assert head_score(features, labels, 4, folds).accuracy == 1.0
