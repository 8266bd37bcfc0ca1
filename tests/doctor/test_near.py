"""Pairs of images that look alike, beside a search over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from trainer.doctor.near import (
    close_pairs,
    correlations,
    near_duplicates,
    perceptual_hashes,
)


def test_hash_is_that_of_a_cosine_transform_of_scipy() -> None:
    thumbnails = np.random.default_rng(0).integers(
        0, 256, (5, 32, 32), np.uint8
    )
    for image, found in zip(
        thumbnails, perceptual_hashes(thumbnails), strict=True
    ):
        low = dctn(image.astype(float))[1:9, 1:9].ravel()
        bits = low > np.median(low)
        assert int(found) == sum(1 << n for n in range(64) if bits[n])
        assert bits.sum() == 32


def every_pair(hashes: np.ndarray, radius: int) -> list[list[int]]:
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    return np.argwhere(np.triu(apart <= radius, 1)).tolist()


@pytest.mark.parametrize("radius", [0, 3, 4, 7, 11])
def test_close_pairs_are_those_of_a_search_over_all(radius: int) -> None:
    rng = np.random.default_rng(radius)
    hashes = rng.integers(0, 2**63, 300).astype(np.uint64)
    # Copies with up to 14 flipped bits, so some are just outside.
    flipped = hashes[:150].copy()
    for row in range(150):
        for bit in rng.choice(64, row % 15, replace=False):
            flipped[row] ^= np.uint64(1) << np.uint64(bit)
    hashes = np.concatenate([hashes, flipped])
    expected = every_pair(hashes, radius)
    assert close_pairs(hashes, radius).tolist() == expected
    assert len(expected) >= 10 * radius


def test_close_pairs_of_many_equal_hashes_span_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.doctor.near._BLOCK", 7)
    hashes = np.array([5, 9, 5, 5, 2**60], np.uint64)
    assert close_pairs(hashes, 0).tolist() == [[0, 2], [0, 3], [2, 3]]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 1, 2, 3], [10, 12, 14, 16], 1.0),
        ([0, 1, 2, 3], [3, 2, 1, 0], -1.0),
        # Deviations (-1.5 -0.5 0.5 1.5) and (-1.5 0.5 -0.5 1.5): 4 / 5.
        ([0, 1, 2, 3], [0, 2, 1, 3], 0.8),
        ([7, 7, 7, 7], [0, 1, 2, 3], 0.0),
    ],
)
def test_correlation_by_hand(
    first: list[int], second: list[int], expected: float
) -> None:
    images = np.array([first, second], np.uint8).reshape(2, 2, 2)
    assert correlations(images, np.array([[0, 1]])) == pytest.approx(expected)


def test_near_duplicates_need_both_hash_and_correlation() -> None:
    rng = np.random.default_rng(1)
    small = rng.uniform(40, 200, (3, 16, 16))
    images = np.kron(small, np.ones((2, 2)))
    noisy = images[1] + rng.normal(0, 3, (32, 32))
    # Brighter by a quarter: the same hash and correlation.
    brighter = images[2] * 1.25
    thumbnails = np.stack([*images, noisy, brighter]).round().astype(np.uint8)
    assert near_duplicates(thumbnails).tolist() == [[1, 3], [2, 4]]
    assert not len(near_duplicates(thumbnails, least_correlation=1.01))
