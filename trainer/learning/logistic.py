"""Losses of logistic regression, as pure functions of logits."""

from __future__ import annotations

import numpy as np


def sample_losses(
    logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the loss of each sample, and its derivative by the logits.

    Args:
      logits: float64 (n, classes).
      labels: int (n,), or (n, classes) of 0 and 1.

    Returns:
      float64 (n,), with several labels the sum over the classes; and float64
      (n, classes).
    """
    if labels.ndim == 2:
        losses = class_losses(logits, labels).sum(axis=1)
        # Of e^x / (1 + e^x), the one that does not overflow.
        small = np.exp(-np.abs(logits))
        sigmoid = np.where(logits < 0, small, 1.0) / (1.0 + small)
        return losses, sigmoid - labels
    log_p = log_softmax(logits)
    own = np.arange(len(labels)), labels
    residual = np.exp(log_p)
    residual[own] -= 1.0
    return -log_p[own], residual


def class_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the binary cross-entropy of each class, float64 (n, classes).

    Args:
      logits: float64 (n, classes).
      labels: (n, classes) of 0 and 1.
    """
    return np.logaddexp(0, np.where(labels > 0, -logits, logits))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the softmax, float64 (n, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
