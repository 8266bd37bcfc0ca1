"""Finds images that look alike, by a perceptual hash and a second look.

Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIDE = 32
# Bits of 64 in which the hashes of two copies may differ, and the least
# correlation of their thumbnails. Copies of 120 photos of 64 to 512 px, in
# JPEG of quality 30 to 75 and WebP, or of half to twice the size, differed in
# at most 4 bits and had at least 0.977. No two of 7,500 different photos within
# 11 bits had more than 0.949.
RADIUS, LEAST_CORRELATION = 7, 0.965
_BANDS, _BAND_BITS = 4, 16
# Candidates that are compared at a time, 16 bytes each.
_BLOCK = 1 << 20


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Returns the perceptual hash of each image.

    The 64 lowest frequencies of a discrete cosine transform without those that
    are constant along an axis; a bit says whether one is above their median
    (Zauner, 2010, "Implementation and benchmarking of perceptual image hash
    functions", section 3.2.1).

    Args:
      thumbnails: uint8 (n, 32, 32), grey levels.

    Returns:
      uint64 (n,).
    """
    at = np.arange(SIDE)
    frequencies = np.arange(1, 9)[:, None]
    basis = np.cos(np.pi * frequencies * (2 * at + 1) / (2 * SIDE))
    basis = basis.astype(np.float32)
    found = np.zeros(len(thumbnails), np.uint64)
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    for start in range(0, len(thumbnails), 4096):
        some = thumbnails[start : start + 4096].astype(np.float32)
        values = (basis @ some @ basis.T).reshape(len(some), 64)
        bits = values > np.median(values, axis=1, keepdims=True)
        found[start : start + 4096] = (bits * powers).sum(1, dtype=np.uint64)
    return found


def close_pairs(hashes: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """Returns all pairs of hashes that differ in at most `radius` bits.

    Exact: of four bands of 16 bits, one differs in at most a quarter of the
    bits, rounded down. So each hash is compared with those whose band is equal
    up to so many flipped bits.

    Args:
      hashes: uint64 (n,).
      radius: number of bits, at most 11.

    Returns:
      int64 (m, 2), in ascending order, the first number below the second.
    """
    found = [np.zeros((0, 2), np.int64)]
    flips = _flips(radius // _BANDS)
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        keys = (hashes >> shift).astype(np.uint16).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << _BAND_BITS) + 1))
        for flip in flips:
            sought = keys ^ flip
            for first, second in _candidates(
                order, starts[sought], starts[sought + 1]
            ):
                apart = np.bitwise_count(hashes[first] ^ hashes[second])
                keep = (apart <= radius) & (first < second)
                found.append(np.stack([first[keep], second[keep]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _flips(bits: int) -> list[int]:
    """Returns all masks of a band with at most so many bits set."""
    masks = {0}
    for _ in range(bits):
        masks |= {mask | 1 << n for mask in masks for n in range(_BAND_BITS)}
    return sorted(masks)


def _candidates(
    order: np.ndarray, low: np.ndarray, high: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields each row with the rows of its range of `order`, in blocks."""
    counts = high - low
    ends = np.cumsum(counts)
    row, rows = 0, len(counts)
    while row < rows:
        before = ends[row] - counts[row]
        stop = int(np.searchsorted(ends, before + _BLOCK, side="right"))
        stop = max(stop, row + 1)
        some = counts[row:stop]
        first = np.repeat(np.arange(row, stop), some)
        offsets = np.arange(some.sum()) - np.repeat(
            ends[row:stop] - some - before, some
        )
        yield first, order[np.repeat(low[row:stop], some) + offsets]
        row = stop


def correlations(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the correlation of the grey levels of each pair of images.

    Args:
      thumbnails: uint8 (n, 32, 32).
      pairs: int (m, 2), indices of images.

    Returns:
      float64 (m,), in [-1, 1]; 0 if an image has one grey level only.
    """
    found = np.zeros(len(pairs))
    for start in range(0, len(pairs), 4096):
        some = pairs[start : start + 4096]
        first, second = (
            _standardised(thumbnails[some[:, side]]) for side in (0, 1)
        )
        found[start : start + 4096] = (first * second).sum(1)
    return found


def _standardised(images: np.ndarray) -> np.ndarray:
    """Returns float64 (n, pixels) with mean 0 and length 1, or zeros."""
    values = images.reshape(len(images), -1).astype(np.float64)
    values -= values.mean(1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths == 0, 1, lengths)


def near_duplicates(
    thumbnails: np.ndarray,
    *,
    radius: int = RADIUS,
    least_correlation: float = LEAST_CORRELATION,
) -> np.ndarray:
    """Returns the pairs of images that are copies of each other.

    Args:
      thumbnails: uint8 (n, 32, 32), grey levels.
      radius: see `close_pairs`.
      least_correlation: of the thumbnails of a pair.

    Returns:
      int64 (m, 2), in ascending order, the first number below the second.
    """
    pairs = close_pairs(perceptual_hashes(thumbnails), radius)
    return pairs[correlations(thumbnails, pairs) >= least_correlation]
