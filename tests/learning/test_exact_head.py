"""The solver of a linear head: against another one, and its invariances."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import optimize

from trainer.learning import exact_head
from trainer.learning.exact_head import TOLERANCE, fold, losses_of, solve
from trainer.learning.head_path import cross_validate
from trainer.learning.principal_axes import (
    DEVIATION_FLOOR,
    rotated,
    standardisation,
)

Arrays = tuple[np.ndarray, np.ndarray]


def data(n: int = 60, d: int = 12, classes: int = 3, seed: int = 0) -> Arrays:
    """Overlapping classes, on features of different sizes; one is dead."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.normal(0, 1, (classes, d))
    features = centres[labels] + rng.normal(0, 1.5, (n, d))
    features = features * rng.uniform(0.1, 20, d) + rng.normal(0, 5, d)
    features[:, 3] = 7.0
    return features.astype(np.float32), labels


def head(
    features: np.ndarray, labels: np.ndarray, *, l2: float, block: int = 1024
) -> Arrays:
    """The solved head on standardised features: float64 kernel and bias."""
    by = standardisation(features, block=block)
    axes = rotated(features, by, block=block)
    found = solve(
        axes.coordinates,
        labels,
        labels.max() + 1,
        l2=l2,
        variances=axes.variances,
        block=block,
    )
    assert found.problem(len(labels)) == ""
    return axes.axes @ found.kernel, found.bias


def objective(
    flat: np.ndarray, z: np.ndarray, labels: np.ndarray, l2: float
) -> tuple[float, np.ndarray]:
    """The regularised loss, written anew: classes by rows, bias apart."""
    classes = labels.max() + 1
    kernel = flat[classes:].reshape(classes, -1)
    scores = kernel @ z.T + flat[:classes, None]
    p = np.exp(scores) / np.exp(scores).sum(0)
    truth = np.eye(classes)[:, labels]
    loss = -np.mean(np.log((p * truth).sum(0))) + l2 * (kernel**2).sum() / 2
    error = (p - truth) / len(labels)
    gradient = error @ z + l2 * kernel
    return loss, np.concatenate([error.sum(1), gradient.ravel()])


def independent(z: np.ndarray, labels: np.ndarray, l2: float) -> Arrays:
    """The minimum by BFGS, with a matrix of second derivatives."""
    classes = labels.max() + 1
    found = optimize.minimize(
        objective,
        np.zeros(classes * (z.shape[1] + 1)),
        args=(z, labels, l2),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-9, "maxiter": 5000},
    )
    _, gradient = objective(found.x, z, labels, l2)
    assert np.abs(gradient).max() < 1e-7
    return found.x[classes:].reshape(classes, -1).T, found.x[:classes]


@pytest.mark.parametrize("l2", [0.01, 0.3])
@pytest.mark.parametrize("n", [9, 60], ids=["n<d", "n>d"])
def test_solution_equals_that_of_another_method(n: int, l2: float):
    features, labels = data(n)
    mean = features.mean(0, dtype=np.float64)
    z = (features - mean) / (features.std(0, dtype=np.float64) + 1e-3)
    kernel, bias = head(features, labels, l2=l2)
    expected_kernel, expected_bias = independent(z, labels, l2)
    size = np.abs(expected_kernel).max()
    np.testing.assert_allclose(kernel, expected_kernel, atol=1e-4 * size)
    # A constant added to all biases changes no probability.
    np.testing.assert_allclose(
        bias - bias.mean(),
        expected_bias - expected_bias.mean(),
        atol=1e-4 * size,
    )


@pytest.mark.parametrize("block", [1, 7, 64])
def test_coefficients_do_not_depend_on_block_or_order(block: int):
    features, labels = data()
    expected = head(features, labels, l2=0.1)
    order = np.random.default_rng(1).permutation(len(labels))
    found = head(features[order], labels[order], l2=0.1, block=block)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("l2", [0.0, 1e-4, 1.0, 100.0])
def test_gradient_is_a_millionth_of_the_start(l2: float):
    features, labels = data(n=300, d=5)
    kernel, bias = head(features, labels, l2=l2)
    by = standardisation(features)
    z = by.apply(features)
    solved = np.concatenate([bias, kernel.T.ravel()])
    norms = [
        np.linalg.norm(objective(flat, z, labels, l2)[1])
        for flat in (solved, np.zeros_like(solved))
    ]
    assert norms[0] <= TOLERANCE * norms[1]


def test_folded_head_gives_the_same_logits():
    features, labels = data()
    by = standardisation(features)
    kernel, bias = head(features, labels, l2=0.01)
    dense_kernel, dense_bias = fold(kernel, bias, by)
    assert dense_kernel.dtype == dense_bias.dtype == np.float32
    found = features @ dense_kernel + dense_bias
    expected = by.apply(features) @ kernel + bias
    np.testing.assert_allclose(
        found, expected, atol=1e-5 * np.abs(expected).max()
    )


def test_dead_feature_has_the_floor_as_scale_and_no_weight():
    features, labels = data()
    assert standardisation(features).scale[3] == DEVIATION_FLOOR
    kernel, _ = head(features, labels, l2=0.1)
    np.testing.assert_allclose(kernel[3], 0, atol=1e-12)


def test_axes_are_orthonormal_and_reproduce_the_features():
    features, _ = data(n=9)
    by = standardisation(features)
    found = rotated(features, by)
    assert found.axes.shape == (12, 9)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(9), atol=1e-9)
    np.testing.assert_allclose(
        found.coordinates @ found.axes.T, by.apply(features), atol=1e-5
    )


def solved(l2: float, **bounds: int) -> exact_head.Solution:
    """The head of separable classes."""
    features, labels = data(n=9)
    axes = rotated(features, standardisation(features))
    return solve(
        axes.coordinates,
        labels,
        3,
        l2=l2,
        variances=axes.variances,
        **bounds,
    )


def test_separable_classes_without_l2_are_a_problem():
    found = solved(0.0)
    assert found.correct == 9
    assert "the classes are separable" in found.problem(9)
    assert f"{found.iterations} iterations" in found.problem(9)
    assert solved(1e-3).problem(9) == ""


def test_too_few_iterations_are_a_problem():
    found = solved(1e-3, max_iterations=2)
    assert found.iterations == 2
    assert "after 2 iterations: the gradient is" in found.problem(9)


def test_float32_products_give_nearly_the_same_head():
    features, labels = data(n=300)
    axes = rotated(features, standardisation(features))
    exact, quick = (
        solve(
            axes.coordinates,
            labels,
            3,
            l2=0.1,
            variances=axes.variances,
            stop=1e-4,
            dtype=dtype,
        )
        for dtype in (np.float64, np.float32)
    )
    np.testing.assert_allclose(quick.kernel, exact.kernel, atol=1e-4)
    losses, _ = losses_of(axes.coordinates, labels, quick.kernel, quick.bias)
    assert losses.mean() == pytest.approx(exact.loss, rel=1e-4)


def test_memory_is_bounded_by_the_features():
    """Features, coordinates and those of a fold: 12 bytes a value."""
    n, d = 6000, 64
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    features = rng.normal(labels[:, None], 1, (n, d)).astype(np.float32)
    folds = np.arange(n) % 2
    tracemalloc.start()
    by = standardisation(features, block=128)
    axes = rotated(features, by, block=128)
    solve(
        axes.coordinates,
        labels,
        2,
        l2=1.0,
        variances=axes.variances,
        block=128,
    )
    cross_validate(axes, labels, 2, folds, l2_values=[1.0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The features were there before: 8 of the 12 bytes, and 4 MiB of blocks.
    assert peak <= 8 * n * d + (4 << 20)
    # Far less than all of them as float64, standardised, would take.
    assert 8 * n * d + (4 << 20) < 3 * 8 * n * d


@pytest.mark.parametrize(("count", "most"), [(40, 4), (5, 3), (40, 99)])
def test_the_largest_axes_are_the_last_of_all(count: int, most: int) -> None:
    rng = np.random.default_rng(count)
    features = rng.normal(0, 1, (count, 8)).astype(np.float32)
    by = standardisation(features)
    every, largest = rotated(features, by), rotated(features, by, max_axes=most)
    np.testing.assert_array_equal(largest.variances, every.variances[-most:])
    np.testing.assert_allclose(largest.axes, every.axes[:, -most:], atol=1e-12)
    np.testing.assert_allclose(
        largest.coordinates, every.coordinates[:, -most:], atol=1e-5
    )
