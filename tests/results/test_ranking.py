"""Average precision and ROC AUC, compared with scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.results.ranking import rank


def test_ranking_by_hand() -> None:
    """Positives of class 0 are at ranks 1 and 3; class 1 is one tie."""
    positive = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.1, 0.5]])
    found = rank(positive, scores)
    assert found.average_precision == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])
    # Of 2 x 2 pairs, three are in order.
    assert found.roc_auc == pytest.approx([3 / 4, 1 / 2])
    assert found.mean_average_precision == pytest.approx(13 / 24)
    assert found.mean_roc_auc == pytest.approx(5 / 8)


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("labels_per_sample", [1, 2])
def test_ranking_is_that_of_scikit_learn(
    digits: int, labels_per_sample: int
) -> None:
    """One digit makes most scores equal to others."""
    from sklearn import metrics

    rng = np.random.default_rng(digits)
    positive = np.zeros((60, 4), bool)
    for row in positive:
        row[rng.choice(4, labels_per_sample, replace=False)] = True
    scores = np.round(rng.random((60, 4)) + 0.3 * positive, digits)
    found = rank(positive, scores)
    for values, function in (
        (found.average_precision, metrics.average_precision_score),
        (found.roc_auc, metrics.roc_auc_score),
    ):
        expected = function(positive, scores, average=None)
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        assert np.mean(values) == pytest.approx(
            function(positive, scores, average="macro")
        )


@pytest.mark.filterwarnings("error")
def test_classes_without_a_value_are_left_out_of_the_mean() -> None:
    """Class 1 has no sample, class 2 has all."""
    positive = np.array([[1, 0, 1], [0, 0, 1]], bool)
    found = rank(positive, np.array([[0.4, 0.1, 0.9], [0.6, 0.2, 0.8]]))
    np.testing.assert_array_equal(found.average_precision, [0.5, np.nan, 1])
    np.testing.assert_array_equal(found.roc_auc, [0, np.nan, np.nan])
    assert (found.mean_average_precision, found.mean_roc_auc) == (0.75, 0)
    nothing = rank(np.zeros((2, 1), bool), np.ones((2, 1)))
    assert np.isnan(
        [nothing.mean_average_precision, nothing.mean_roc_auc]
    ).all()
