"""Features, standardised and turned into their principal axes.

Pure functions of arrays, which read a large array in blocks.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Added to every standard deviation, because that of a dead channel is 0.
DEVIATION_FLOOR = 1e-3
# Number of rows that are converted to float64 at a time.
BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Standardisation:
    """An affine map of each feature: z = (x - mean) / scale.

    Attributes:
      mean: float64 (d,).
      scale: float64 (d,), the standard deviation plus `DEVIATION_FLOOR`.
    """

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Returns standardised features, float64 (n, d)."""
        return (features.astype(np.float64) - self.mean) / self.scale


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rotated:
    """Standardised features in their principal axes, an orthonormal basis.

    A rotation changes neither the loss of a linear head nor the norm of its
    weights, and the best weights have no part outside the axes. There are r =
    min(n, d) axes, so few samples make a small problem. The variances tell the
    solver how to scale each coordinate.

    Attributes:
      coordinates: float32 (n, r).
      variances: float64 (r,), the mean square of each coordinate.
      axes: float64 (d, r).
    """

    coordinates: np.ndarray
    variances: np.ndarray
    axes: np.ndarray


def standardisation(
    features: np.ndarray, *, block: int = BLOCK
) -> Standardisation:
    """Returns the standardisation of features.

    Takes the mean first, then the deviation from it, so that no digits cancel.

    Args:
      features: float32 (n, d), n at least 1.
      block: rows that are read as float64 at a time.
    """
    total = np.zeros(features.shape[1])
    for part in _blocks(features, block):
        total += part.sum(0, dtype=np.float64)
    mean = total / len(features)
    squares = np.zeros(features.shape[1])
    for part in _blocks(features, block):
        squares += np.square(part - mean).sum(0)
    deviation = np.sqrt(squares / len(features))
    return Standardisation(mean=mean, scale=deviation + DEVIATION_FLOOR)


def rotated(
    features: np.ndarray,
    by: Standardisation,
    *,
    block: int = BLOCK,
    max_axes: int | None = None,
) -> Rotated:
    """Returns the standardised features in their principal axes.

    Args:
      features: float32 (n, d), not standardised.
      by: their standardisation.
      block: rows that are read as float64 at a time.
      max_axes: keeps at most this many axes, those of the largest variances;
        None keeps all.
    """
    count, width = features.shape
    # If samples are fewer than features, work in an orthonormal basis of the
    # samples' span.
    few = count < width
    span = np.linalg.qr(by.apply(features).T)[0] if few else None
    products = np.zeros((min(count, width),) * 2)
    for part in _blocks(features, block):
        z = by.apply(part)
        own = z if span is None else z @ span
        products += own.T @ own
    variances, axes = np.linalg.eigh(products / count)
    if max_axes is not None:
        variances, axes = variances[-max_axes:], axes[:, -max_axes:].copy()
    if span is not None:
        axes = span @ axes
    coordinates = np.empty((count, axes.shape[1]), np.float32)
    for start, part in zip(
        range(0, count, block), _blocks(features, block), strict=True
    ):
        coordinates[start : start + block] = by.apply(part) @ axes
    return Rotated(
        coordinates=coordinates,
        variances=np.maximum(variances, 0.0),
        axes=axes,
    )


def _blocks(features: np.ndarray, block: int) -> list[np.ndarray]:
    """Returns views of consecutive blocks of rows."""
    return [
        features[start : start + block]
        for start in range(0, len(features), block)
    ]
