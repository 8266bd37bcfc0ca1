"""Scores of features worked out by hand, and the threshold of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.results import novelty
from trainer.results.novelty import fit_novelty


def at(*degrees: float) -> np.ndarray:
    """Returns features in the plane; the length must not matter."""
    radians = np.radians(degrees)
    found = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return (found * np.arange(1, len(degrees) + 1)[:, None]).astype(np.float32)


def test_a_score_is_the_cosine_to_the_fifth_nearest() -> None:
    """The fifth nearest of 0, 10, ..., 90 degrees to 0 is 40."""
    fitted = fit_novelty(at(*range(0, 100, 10)), at(0))
    expected = np.cos(np.radians([40, 20, 40, 130]))
    np.testing.assert_allclose(
        fitted.scores(at(0, 45 - 5, 90, -90)), expected, atol=1e-6
    )


def test_fewer_than_five_images_use_the_farthest() -> None:
    fitted = fit_novelty(at(0, 90), at(0))
    np.testing.assert_allclose(fitted.scores(at(30)), [0.5], atol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 20, 21, 40, 450])
def test_the_threshold_keeps_95_percent(count: int) -> None:
    rng = np.random.default_rng(count)
    train = rng.normal(size=(30, 4)).astype(np.float32)
    held_out = rng.normal(size=(count, 4)).astype(np.float32)
    fitted = fit_novelty(train, held_out)
    rows = train / np.linalg.norm(train, axis=1, keepdims=True)
    own = held_out / np.linalg.norm(held_out, axis=1, keepdims=True)
    scores = np.sort(own @ rows.T, axis=1)[:, -5]
    below = int(np.floor(0.05 * (count - 1)))
    assert fitted.threshold == pytest.approx(np.sort(scores)[below], abs=1e-6)
    kept = np.mean(fitted.scores(held_out) >= fitted.threshold)
    assert kept >= 0.95
    assert kept == (count - below) / count


def test_many_training_images_are_thinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(novelty, "_MAX_ROWS", 4)
    rows = fit_novelty(at(*range(9)), at(0)).rows
    np.testing.assert_allclose(
        np.degrees(np.arctan2(rows[:, 1], rows[:, 0])), [0, 3, 6], atol=1e-4
    )


def test_a_feature_without_length_is_far_from_all() -> None:
    fitted = fit_novelty(at(*range(10)), at(5))
    assert fitted.scores(np.zeros((1, 2), np.float32)).tolist() == [0.0]
