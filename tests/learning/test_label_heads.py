"""Solved heads of several labels, compared with scikit-learn and NumPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from trainer.learning.exact_head import loss_and_gradient, losses_of, solve
from trainer.learning.head_path import cross_validate, folds_of, path_record
from trainer.learning.principal_axes import rotated, standardisation

Arrays = tuple[np.ndarray, np.ndarray]


def data(n: int = 80, d: int = 10, seed: int = 0) -> Arrays:
    """Labels that depend on the features, one of them rare."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (n, d)) * rng.uniform(0.1, 20, d)
    standard = (features - features.mean(0)) / features.std(0)
    scores = standard @ rng.normal(0, 1, (d, 4)) + rng.normal(0, 1, (n, 4))
    labels = (scores > (0.0, 1.0, -1.0, 4.0)).astype(np.uint8)
    return features.astype(np.float32), labels


def head(features: np.ndarray, labels: np.ndarray, l2: float) -> Arrays:
    """The solved head on standardised features: kernel and bias."""
    axes = rotated(features, standardisation(features))
    found = solve(
        axes.coordinates,
        labels,
        labels.shape[1],
        l2=l2,
        variances=axes.variances,
    )
    assert found.problem(len(labels)) == ""
    return axes.axes @ found.kernel, found.bias


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.003])
def test_each_class_is_a_logistic_regression(l2: float) -> None:
    features, labels = data()
    kernel, bias = head(features, labels, l2)
    standard = standardisation(features).apply(features)
    for label in range(labels.shape[1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(
                C=1 / (l2 * len(labels)), tol=1e-10, max_iter=10_000
            ).fit(standard, labels[:, label])
        np.testing.assert_allclose(
            kernel[:, label], model.coef_[0], rtol=1e-3, atol=1e-4
        )
        assert bias[label] == pytest.approx(model.intercept_[0], abs=1e-3)


def test_a_class_of_all_images_does_not_disturb_the_others() -> None:
    features, labels = data()
    both = np.column_stack([labels, np.ones(len(labels), np.uint8)])
    kernel, bias = head(features, labels, 0.1)
    with_it = head(features, both, 0.1)
    np.testing.assert_allclose(with_it[0][:, :4], kernel, atol=1e-4)
    np.testing.assert_allclose(with_it[1][:4], bias, atol=1e-4)
    np.testing.assert_allclose(with_it[0][:, 4], 0, atol=1e-4)
    assert with_it[1][4] > 10


def test_the_gradient_is_that_of_the_loss() -> None:
    features, labels = data(n=15, d=3)
    features = features / np.abs(features).max()
    importance = np.linspace(0.5, 2, 15)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss_and_gradient(
            flat.reshape(4, 4),
            features,
            labels,
            l2=0.2,
            importance=importance,
            block=4,
        )
        return value, gradient.ravel()

    at = np.random.default_rng(1).normal(size=16)
    numeric = optimize.approx_fprime(at, lambda x: loss(x)[0], 1e-7)
    np.testing.assert_allclose(loss(at)[1], numeric, rtol=1e-4, atol=1e-5)


def test_losses_are_means_over_classes() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    kernel, bias = np.array([[2.0, -1.0], [0.5, -3.0]]), np.array([0.5, 1.0])
    labels = np.array([[1, 0], [1, 1]], np.uint8)
    logits = features @ kernel + bias
    p = 1 / (1 + np.exp(-logits))
    expected = -np.log(np.where(labels > 0, p, 1 - p)).mean(axis=1)
    losses, right = losses_of(features, labels, kernel, bias)
    np.testing.assert_allclose(losses, expected)
    # The logits are (2.5, 0) and (1, -2); a logit of 0 is a label.
    assert right.tolist() == [False, False]
    assert losses_of(features, labels, kernel, bias - 1e-6)[1].tolist() == [
        True,
        False,
    ]
    far = losses_of(features, labels, kernel * 1e4, bias)[0]
    assert np.isfinite(far).all()


@pytest.mark.slow
def test_cross_validation_holds_images_out_once() -> None:
    """The only image of the rare class is always trained on."""
    features, labels = data()
    assert labels[:, 3].sum() == 1
    ids = [f"{row:03}" for row in range(len(labels))]
    folds = folds_of(ids, labels, seed=0)
    assert sorted(set(folds.tolist())) == [-1, 0, 1, 2, 3, 4]
    assert (folds < 0).tolist() == (labels[:, 3] > 0).tolist()
    axes = rotated(features, standardisation(features))
    (point,) = cross_validate(axes, labels, 4, folds, l2_values=(0.1,))
    losses = np.zeros(len(labels))
    for fold in range(5):
        train, held = folds != fold, folds == fold
        found = solve(
            axes.coordinates[train],
            labels[train],
            4,
            l2=0.1,
            variances=axes.variances,
        )
        losses[held], _ = losses_of(
            axes.coordinates[held], labels[held], found.kernel, found.bias
        )
    mean = losses[folds >= 0].mean()
    assert point.loss == pytest.approx(mean, rel=1e-4)
    record = path_record((point,), multilabel=True)["path"][0]
    assert set(record) == {
        "l2",
        "loss",
        "exact_match",
        "standard_error",
        "exact_match_standard_error",
    }
