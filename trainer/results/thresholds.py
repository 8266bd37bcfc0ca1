"""The probability from which on an image has a label, for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Without a validation image of the class.
DEFAULT_THRESHOLD = 0.5


def best_thresholds(
    targets: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """Returns the threshold of each class with the highest F1.

    An image has a label if its probability is at least the threshold. The
    candidates are 0.5, half of the lowest probability, and the middle between
    any two adjacent probabilities of the class. Of those with the same F1, the
    one nearest to 0.5 is chosen, and the higher of two. A class without images
    has 0.5.

    Args:
      targets: (n, classes) of 0 and 1.
      probabilities: float32 (n, classes).

    Returns:
      float32 (classes,).
    """
    found = [
        _best_threshold(targets[:, label] > 0, probabilities[:, label])
        for label in range(targets.shape[1])
    ]
    return np.array(found, np.float32)


def _best_threshold(targets: np.ndarray, scores: np.ndarray) -> float:
    positives = int(targets.sum())
    if not positives or not np.isfinite(scores).all():
        return DEFAULT_THRESHOLD
    values, places = np.unique(scores, return_inverse=True)
    below = np.concatenate([[0.0], values[:-1].astype(np.float64)])
    middles = (below + values) / 2
    candidates = np.append(middles, DEFAULT_THRESHOLD).astype(np.float32)
    # Images, and images of the class, with at least each of the values.
    every = np.bincount(places, minlength=len(values))[::-1].cumsum()[::-1]
    hits = np.bincount(places[targets], minlength=len(values))
    hits = hits[::-1].cumsum()[::-1]
    # The position of the lowest value that reaches each candidate. A middle
    # may be rounded down to the value below it.
    first = np.searchsorted(values, candidates, side="left")
    predicted = np.append(every, 0)[first]
    correct = np.append(hits, 0)[first]
    f1 = 2 * correct / (positives + predicted)
    best = candidates[f1 == f1.max()].astype(np.float64)
    distance = np.abs(best - DEFAULT_THRESHOLD)
    return float(best[distance == distance.min()].max())


def thresholds_to_json(
    thresholds: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Returns the threshold of each class, by its name."""
    # The shortest decimal from which NumPy reads the same float32.
    return {
        name: float(str(threshold))
        for name, threshold in zip(class_names, thresholds, strict=True)
    }
