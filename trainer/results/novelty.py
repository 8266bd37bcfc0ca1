"""Whether an image is unlike the training images, by its pooled features."""

from __future__ import annotations

import dataclasses

import numpy as np

NEIGHBOURS = 5
# The share of validation images that the threshold accepts.
KEPT = 0.95
# More rows would take over 100 MB, and the search most of the time.
_MAX_ROWS = 20_000
# Images compared at once, which bounds the memory to 80 MB.
_BLOCK = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """Compares images with the training images.

    The score is the cosine similarity to the fifth most similar training image
    (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors",
    ICML 2022).

    Attributes:
      rows: float32 (n, channels), features of training images with length 1.
      threshold: the smallest score of an image that is not unlike them.
    """

    rows: np.ndarray
    threshold: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Returns the scores of features (n, channels), float32 (n,)."""
        return _scores(self.rows, features)


def fit_novelty(train: np.ndarray, validation: np.ndarray) -> Novelty:
    """Chooses the threshold that accepts 95 % of the validation images.

    Args:
      train: features of the training images, float32 (n, channels). If there
        are more than 20,000, as many at equal distances are used.
      validation: features of images that were not trained on.
    """
    rows = _normed(train[:: -(-len(train) // _MAX_ROWS)])
    scores = _scores(rows, validation)
    # "lower", so that never fewer are accepted.
    threshold = np.quantile(scores, 1 - KEPT, method="lower")
    return Novelty(rows=rows, threshold=float(threshold))


def _scores(rows: np.ndarray, features: np.ndarray) -> np.ndarray:
    k = min(NEIGHBOURS, len(rows))
    scores = np.empty(len(features), np.float32)
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        similar = _normed(features[part]) @ rows.T
        scores[part] = np.partition(similar, -k, axis=1)[:, -k]
    return scores


def _normed(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(np.float32).tiny)
