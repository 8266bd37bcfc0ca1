"""How well features separate the classes, by cross-validation.

Pure functions of arrays. All scores use the same folds: a sample is classified
by the samples of the other folds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.learning.head_path import PathPoint, chosen_point, cross_validate
from trainer.learning.principal_axes import BLOCK, rotated, standardisation

NEIGHBOURS = 5


def head_score(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
    *,
    check: Callable[[], None] = lambda: None,
) -> PathPoint:
    """Returns the cross-validation of the exact head, as `auto` chooses L2.

    Args:
      features: float32 (n, d).
      labels: int (n,), below `num_classes`.
      num_classes: at least 2.
      folds: see `head_path.folds_of`; at least one sample is held out.
      check: called after every solution; may raise to stop.
    """
    axes = rotated(features, standardisation(features))
    return chosen_point(
        cross_validate(axes, labels, num_classes, folds, check=check)
    )


def neighbours_accuracy(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
    *,
    neighbours: int = NEIGHBOURS,
    block: int = BLOCK,
) -> float:
    """Returns the accuracy of the nearest neighbours by cosine similarity.

    The neighbours vote, each with one vote. Of classes with equally many votes,
    the one with the larger sum of similarities wins.

    Args:
      features: float32 (n, d).
      labels: int (n,), below `num_classes`.
      num_classes: at least 2.
      folds: see `head_path.folds_of`; at least one sample is held out.
      neighbours: number that vote; fewer if the other folds have fewer.
      block: rows of the similarity matrix that are in memory at a time.
    """
    unit = _unit(features)
    correct = 0
    for fold in np.unique(folds[folds >= 0]):
        held, others = np.flatnonzero(folds == fold), folds != fold
        known, classes = unit[others], labels[others]
        count = min(neighbours, len(known))
        for start in range(0, len(held), block):
            rows = held[start : start + block]
            similarity = unit[rows] @ known.T
            near = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
            closeness = np.take_along_axis(similarity, near, axis=1)
            votes = np.zeros((len(rows), num_classes))
            at = np.arange(len(rows))[:, None]
            # All similarities together weigh less than one vote.
            np.add.at(
                votes, (at, classes[near]), 1 + closeness / (4 * neighbours)
            )
            correct += int((votes.argmax(1) == labels[rows]).sum())
    return correct / int((folds >= 0).sum())


def class_mean_accuracy(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
) -> float:
    """Returns the accuracy of the nearest class mean.

    The features are scaled to length 1. The distance to the mean of each class
    is Euclidean.

    Args:
      features: float32 (n, d).
      labels: int (n,), below `num_classes`.
      num_classes: at least 2.
      folds: see `head_path.folds_of`; at least one sample is held out.
    """
    unit = _unit(features)
    correct = 0
    for fold in np.unique(folds[folds >= 0]):
        held, others = folds == fold, folds != fold
        means = np.stack(
            [
                unit[others & (labels == label)].mean(0, dtype=np.float64)
                for label in range(num_classes)
            ]
        )
        # The smallest |x - m|^2 is the largest x m - |m|^2 / 2.
        near = unit[held] @ means.T - np.square(means).sum(1) / 2
        correct += int((near.argmax(1) == labels[held]).sum())
    return correct / int((folds >= 0).sum())


def _unit(features: np.ndarray) -> np.ndarray:
    """Returns the features scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)
