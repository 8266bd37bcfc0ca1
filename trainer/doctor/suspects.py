"""Ranks labels by how little a classifier of the other images believes them.

Pure functions of arrays.
"""

from __future__ import annotations

import numpy as np


def confident_classes(
    probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Returns the class that each image confidently belongs to.

    The threshold of a class is the mean probability of the class over the
    images that are labelled so. Of the classes whose threshold an image
    reaches, the most probable one counts (Northcutt, Jiang and Chuang, 2021,
    "Confident learning", equations 1 and 2).

    Args:
      probabilities: float (n, classes), of images that the classifier was not
        trained on; each row sums to 1.
      labels: int (n,).

    Returns:
      int64 (n,); -1 if an image reaches no threshold.
    """
    classes = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    sums = np.bincount(labels, weights=own, minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    # No image reaches the threshold of a class without labels.
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = probabilities >= thresholds
    best = np.where(reached, probabilities, -1).argmax(1)
    return np.where(reached.any(1), best, -1)


def margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the probability of each label minus that of the best other one.

    This is the normalised margin of confident learning, in [-1, 1]. A label is
    the more suspect the lower it is.

    Args:
      probabilities: float (n, classes), at least two classes.
      labels: int (n,).

    Returns:
      float (n,).
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return probabilities[rows, labels] - others.max(1)


def ranked_suspects(
    probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Returns the images whose label is probably wrong, worst first.

    They confidently belong to another class than that of their label, and their
    label is less probable than by chance, 1 / classes. Without the second rule
    a weak classifier has twice as many suspects, and most of those that it adds
    are images whose label is right.

    Args:
      probabilities: see `confident_classes`.
      labels: int (n,).

    Returns:
      int64 (m,), indices of images.
    """
    confident = confident_classes(probabilities, labels)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    unlikely = own < 1 / probabilities.shape[1]
    found = np.flatnonzero((confident >= 0) & (confident != labels) & unlikely)
    order = np.argsort(margins(probabilities, labels)[found], kind="stable")
    return found[order]
