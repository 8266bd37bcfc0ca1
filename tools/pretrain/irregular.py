"""Textures that do not repeat: noise, spots, veins, cells."""

from __future__ import annotations

import math

import numpy as np

from tools.pretrain.fields import Field, Rng, band, grid, oriented, pink, squash
from tools.pretrain.periodic import TAU, Texture, plane, sharp


def _pink(slope: float) -> Texture:
    return lambda rng, px: squash(0.8 * pink(rng, px, slope))


def _band(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        return squash(0.7 * band(rng, px, cycles * rng.uniform(0.85, 1.2)))

    return draw


def _grain(cycles: float, width: float, crossed: bool) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        angle, actual = rng.uniform(0, math.pi), cycles * rng.uniform(0.85, 1.2)
        field = oriented(rng, px, actual, angle, width)
        if crossed:
            field = np.maximum(
                field, oriented(rng, px, actual, angle + math.pi / 2, width)
            )
        return squash(0.8 * field)

    return draw


def _labyrinth(cycles: float) -> Texture:
    return lambda rng, px: sharp(0.5 * band(rng, px, cycles, 0.16), rng)


def _spots(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        level = rng.uniform(0.8, 1.2)
        return sharp(0.5 * (band(rng, px, cycles, 0.16) - level), rng)

    return draw


def _ridges(rng: Rng, px: int) -> Field:
    return np.clip(1 - 1.5 * np.abs(pink(rng, px, 1.6)), 0, 1)


def _billows(rng: Rng, px: int) -> Field:
    cycles = rng.uniform(4, 6)
    field = np.abs(band(rng, px, cycles)) + 0.5 * np.abs(
        band(rng, px, 2 * cycles)
    )
    return np.clip(0.5 * field, 0, 1)


def _marble(rng: Rng, px: int) -> Field:
    u, _ = plane(rng, px, 4, bend=0)
    return 0.5 + 0.5 * np.sin(TAU * u + 2.5 * pink(rng, px, 1.5))


def _terraces(rng: Rng, px: int) -> Field:
    levels = rng.uniform(1.2, 2.2)
    field = levels * pink(rng, px, 2.2)
    return field - np.floor(field)


def _islands(rng: Rng, px: int) -> Field:
    return sharp(pink(rng, px, 1.8) * 0.8, rng)


def _sparse(rng: Rng, px: int) -> Field:
    """Specks: a few hundred single points, a little blurred."""
    field = band(rng, px, 14, 0.5) - rng.uniform(1.6, 2.0)
    return sharp(0.5 * field, rng)


def _cells(count: int, regular: float, mode: str) -> Texture:
    """Voronoi cells of about `count` points; `regular` pulls to a lattice."""

    def draw(rng: Rng, px: int) -> Field:
        x, y = grid(px)
        side = round(math.sqrt(count * rng.uniform(0.75, 1.3)))
        line = (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1
        a, b = np.meshgrid(line, line)
        jitter = (1 - regular) * 1.3 / side
        a = a.ravel() + rng.uniform(-jitter, jitter, side * side)
        b = b.ravel() + rng.uniform(-jitter, jitter, side * side)
        turn = rng.uniform(0, TAU)
        stretch = rng.uniform(0.75, 1.0)
        points = np.stack([a * stretch, b], axis=1).astype(np.float32)
        cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
        u, v = (cos * x - sin * y).ravel(), (sin * x + cos * y).ravel()
        u *= np.float32(stretch)
        # |p - q|^2 less the part that all points share, as one product.
        plane = np.stack([u, v, np.ones_like(u)])
        terms = np.concatenate(
            [-2 * points, (points**2).sum(1, keepdims=True)], axis=1
        )
        distance = terms @ plane
        nearest = distance.argmin(0)
        if mode == "flat":
            return rng.random(len(points), np.float32)[nearest].reshape(px, px)
        where = np.arange(px * px)
        own = u * u + v * v
        first = np.sqrt(np.maximum(distance[nearest, where] + own, 0))
        if mode == "domes":
            return np.clip(1 - first * side / 1.5, 0, 1).reshape(px, px)
        distance[nearest, where] = np.inf
        gap = np.sqrt(np.maximum(distance.min(0) + own, 0)) - first
        gap = gap.reshape(px, px) * side / 2
        if mode == "pebbles":
            return np.clip(2.5 * gap, 0, 1)
        return sharp(rng.uniform(0.1, 0.2) - gap, rng)

    return draw


IRREGULAR: dict[str, Texture] = {
    "pink_rough": _pink(1.0),
    "pink_middle": _pink(1.6),
    "pink_smooth": _pink(2.6),
    "band_low": _band(4),
    "band_middle": _band(9),
    "band_high": _band(20),
    "grain_low": _grain(5, 0.3, False),
    "grain_high": _grain(13, 0.3, False),
    "grain_crossed": _grain(10, 0.2, True),
    "labyrinth_low": _labyrinth(5),
    "labyrinth_high": _labyrinth(11),
    "spots_low": _spots(6),
    "spots_high": _spots(12),
    "ridges": _ridges,
    "billows": _billows,
    "marble": _marble,
    "terraces": _terraces,
    "islands": _islands,
    "sparse": _sparse,
    "cells_few": _cells(12, 0.2, "flat"),
    "cells_many": _cells(50, 0.2, "flat"),
    "cells_lattice": _cells(30, 0.85, "flat"),
    "cracks_few": _cells(12, 0.2, "cracks"),
    "cracks_many": _cells(40, 0.2, "cracks"),
    "domes_few": _cells(14, 0.3, "domes"),
    "domes_many": _cells(45, 0.3, "domes"),
    "pebbles": _cells(30, 0.4, "pebbles"),
}
