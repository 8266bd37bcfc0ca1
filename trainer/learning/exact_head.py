"""A linear head, solved exactly: logistic regression by L-BFGS.

Pure functions of arrays. With z the standardised features of a sample,
W (d, classes) and b (classes) minimise

    mean over samples of -log softmax(W' z + b)[label]  +  l2 / 2 * |W|^2

With several labels per sample, each class has a logistic regression of its own.
Their losses are added up, so that one solution finds all of them:

    mean over samples of sum over classes of
        log(1 + exp(-y (W' z + b)))  +  l2 / 2 * |W|^2,  y = 1 or -1

The bias is not regularised. For l2 > 0 the loss is strictly convex in W, so the
solution depends on no learning rate, order, seed or start.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy import optimize

from trainer.learning.logistic import class_losses, log_softmax, sample_losses
from trainer.learning.principal_axes import BLOCK, Standardisation

# Maximum gradient norm of a solution, relative to the norm at zero weights.
TOLERANCE = 1e-6
# The norm at which the solver stops: so far below TOLERANCE that the order of
# the sums hardly changes the coefficients.
_STOP = 1e-8
MAX_ITERATIONS = 2000
# Smaller variances, relative to the largest, count as this when scaling steps.
_SMALLEST_VARIANCE = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A head in the coordinates of its training features.

    Attributes:
      kernel: float64 (d, classes), W.
      bias: float64 (classes,), b.
      l2: strength of the regularisation.
      loss: mean cross-entropy over the samples, times their importance,
        without the L2 term; with several labels, also the mean over the
        classes.
      correct: number of samples whose own class has the largest logit; with
        several labels, of those whose labels are all correct.
      gradient: norm of the gradient, relative to the one at zero weights.
      iterations: number of L-BFGS iterations.
    """

    kernel: np.ndarray
    bias: np.ndarray
    l2: float
    loss: float
    correct: int
    gradient: float
    iterations: int

    def problem(self, samples: int) -> str:
        """Returns why this is not the optimum; "" if it is.

        Args:
          samples: number of samples that the head was solved on.
        """
        if self.l2 == 0 and self.correct == samples:
            return (
                "--head_l2=0: the classes are separable, so larger weights"
                f" always have a smaller loss; stopped at loss {self.loss:.3g},"
                f" gradient {self.gradient:.0e} of the initial one, after"
                f" {self.iterations} iterations; give a number above 0, or auto"
            )
        if not self.gradient <= TOLERANCE:
            return (
                f"--head_l2={self.l2:g}: L-BFGS stopped before the optimum,"
                f" after {self.iterations} iterations: the gradient is"
                f" {self.gradient:.0e} of the initial one, and more than"
                f" {TOLERANCE:g}; give a larger number, or auto"
            )
        return ""


def fold(
    kernel: np.ndarray, bias: np.ndarray, by: Standardisation
) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias of the Dense layer on features as they are.

    W' (x - mean) / scale + b = (W / scale)' x + (b - (W / scale)' mean)

    Args:
      kernel: float64 (d, classes), on standardised features.
      bias: float64 (classes,).
      by: the standardisation.

    Returns:
      float32 (d, classes) and float32 (classes,).
    """
    raw = kernel / by.scale[:, None]
    return raw.astype(np.float32), (bias - by.mean @ raw).astype(np.float32)


def losses_of(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cross-entropy of each sample, and whether it is correct.

    With several labels, it is the mean over the classes.

    Args:
      features: (n, d).
      labels: int (n,), or (n, classes) of 0 and 1.
      kernel: (d, classes).
      bias: (classes,).

    Returns:
      float64 (n,) and bool (n,).
    """
    logits = (features @ kernel).astype(np.float64) + bias
    if labels.ndim == 2:
        right = ((logits >= 0) == (labels > 0)).all(axis=1)
        return class_losses(logits, labels).mean(axis=1), right
    log_p = log_softmax(logits)
    own = log_p[np.arange(len(labels)), labels]
    return -own, logits.argmax(1) == labels


def loss_and_gradient(
    weights: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    l2: float,
    importance: np.ndarray | None = None,
    by: Standardisation | None = None,
    dtype: Any = np.float64,
    block: int = BLOCK,
) -> tuple[float, np.ndarray]:
    """Returns the regularised loss and its gradient.

    Args:
      weights: float64 (d + 1, classes); the last row is the bias.
      features: float32 (n, d).
      labels: int (n,), below classes, or (n, classes) of 0 and 1.
      l2: strength of the regularisation.
      importance: float64 (n,), a factor of each sample's loss; None for 1. The
        mean divides by n, as that of Keras's `fit` does.
      by: standardises each block; None takes the features as they are.
      dtype: of the matrix products; sums over blocks are float64.
      block: rows per product.

    Returns:
      The loss, and float64 (d + 1, classes).
    """
    kernel, bias = weights[:-1], weights[-1]
    narrow = kernel.astype(dtype, copy=False)
    loss, gradient = 0.0, np.zeros(weights.shape)
    for start in range(0, len(features), block):
        part = features[start : start + block]
        if by is not None:
            part = by.apply(part)
        part = part.astype(dtype, copy=False)
        logits = (part @ narrow).astype(np.float64) + bias
        losses, residual = sample_losses(logits, labels[start : start + block])
        if importance is None:
            loss += float(losses.sum())
        else:
            factors = importance[start : start + block]
            loss += float(losses @ factors)
            residual *= factors[:, None]
        gradient[:-1] += part.T @ residual.astype(dtype, copy=False)
        gradient[-1] += residual.sum(0)
    gradient /= len(features)
    gradient[:-1] += l2 * kernel
    penalty = l2 / 2 * float(np.square(kernel).sum())
    return loss / len(features) + penalty, gradient


def solve(
    coordinates: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    l2: float,
    variances: np.ndarray,
    importance: np.ndarray | None = None,
    start: Solution | None = None,
    stop: float = _STOP,
    max_iterations: int = MAX_ITERATIONS,
    dtype: Any = np.float64,
    block: int = BLOCK,
) -> Solution:
    """Minimises the regularised loss.

    Args:
      coordinates: float32 (n, d), of standardised features in their axes.
      labels: int (n,), below `num_classes`, or (n, classes) of 0 and 1.
      num_classes: at least 2.
      l2: strength of the regularisation, 0 or more.
      variances: float64 (d,), of the coordinates.
      importance: see `loss_and_gradient`.
      start: the solution for another l2; None starts from zero weights.
      stop: gradient norm at which to stop, relative to the norm at zero
        weights. The solver also stops if the loss no longer decreases.
      max_iterations: maximum number of iterations.
      dtype: type of matrix products.
      block: rows per product.
    """
    objective = _Objective(
        coordinates,
        labels,
        l2=l2,
        # p (1 - p) is 1/4 at zero weights, if each class is independent.
        units=_units(variances, 4 if labels.ndim == 2 else num_classes, l2),
        importance=importance,
        dtype=dtype,
        block=block,
    )
    weights = np.zeros((coordinates.shape[1] + 1, num_classes))
    objective(weights.ravel())
    start_norm = objective.norm
    if start is not None:
        weights = np.vstack([start.kernel, start.bias]) / objective.units
    found = objective.minimum(weights, stop * start_norm, max_iterations)
    weights = objective.weights(found.x)
    loss, correct = _totals(coordinates, labels, weights, importance, block)
    return Solution(
        kernel=weights[:-1],
        bias=weights[-1],
        l2=l2,
        loss=loss / len(labels),
        correct=correct,
        gradient=objective.norm / start_norm if start_norm else 0.0,
        iterations=int(found.nit),
    )


class _Objective:
    """The loss as a function of flat, scaled weights, which SciPy minimises.

    Attributes:
      units: float64 (d + 1, 1), the factor from scaled weights to weights.
      norm: norm of the latest gradient with respect to the unscaled weights.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        units: np.ndarray,
        **options: Any,
    ) -> None:
        """Creates the function; `options` are those of `loss_and_gradient`."""
        self._features = features
        self._labels = labels
        self._options = options
        self.units = units
        self.norm = 0.0

    def weights(self, flat: np.ndarray) -> np.ndarray:
        """Returns the weights, float64 (d + 1, classes)."""
        return flat.reshape(len(self.units), -1) * self.units

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the loss and its gradient with respect to `flat`."""
        loss, gradient = loss_and_gradient(
            self.weights(flat), self._features, self._labels, **self._options
        )
        self.norm = float(np.linalg.norm(gradient))
        return loss, (gradient * self.units).ravel()

    def minimum(
        self, start: np.ndarray, bound: float, max_iterations: int
    ) -> optimize.OptimizeResult:
        """Minimises the loss until the gradient norm is at most `bound`."""

        def check(intermediate_result: optimize.OptimizeResult) -> None:
            # `norm` is of this point, because a line search accepts the last
            # point that it evaluated.
            del intermediate_result
            if self.norm <= bound:
                raise StopIteration

        found = optimize.minimize(
            self,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=check,
            options={
                "maxiter": max_iterations,
                "maxfun": 4 * max_iterations,
                # Stop only by `check`, or if the loss no longer decreases.
                "ftol": 0.0,
                "gtol": 0.0,
            },
        )
        # After a failed line search, `norm` is of another point.
        self(found.x)
        return found


def _totals(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    importance: np.ndarray | None,
    block: int,
) -> tuple[float, int]:
    """Returns the sum of the losses, and the number of correct samples."""
    loss, correct = 0.0, 0
    for start in range(0, len(labels), block):
        rows = slice(start, start + block)
        losses, hits = losses_of(
            features[rows], labels[rows], weights[:-1], weights[-1]
        )
        if importance is not None:
            losses = losses * importance[rows]
        loss += float(losses.sum())
        correct += int(hits.sum())
    return loss, correct


def _units(variances: np.ndarray, num_classes: int, l2: float) -> np.ndarray:
    """Returns 1 / sqrt(curvature) of each row of weights, float64 (d + 1, 1).

    In these units the curvature at zero weights is 1 in all directions that
    change a probability: there the Hessian of a coordinate is its variance /
    classes + l2. L-BFGS then needs a fraction of the iterations.
    """
    least = _SMALLEST_VARIANCE * variances.max(initial=1e-30)
    curvature = np.maximum(variances, least) / num_classes + l2
    # The bias is the weight of a feature that is always 1.
    return 1 / np.sqrt(np.append(curvature, 1 / num_classes))[:, None]
