"""Textures that fill the picture: waves, lattices, noise, cells.

A texture is told by its structure. Direction, place and, within a range, the
scale vary inside a class, and so does a slow bending of the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tools.pretrain.fields import (
    Field,
    Figure,
    Rng,
    band,
    grid,
    oriented,
    pink,
    pose,
    rescale,
    squash,
)

Texture = Callable[[Rng, int], Field]
_TAU = 2 * math.pi


def _plane(
    rng: Rng, px: int, cycles: float, bend: float = 0.25
) -> tuple[Field, Field]:
    """u and v, turned, in periods: about `cycles` of them in the picture."""
    x, y = pose(rng, px, scale=(0.8, 1.25), shift=1.0, squeeze=0.2)
    if bend and rng.random() < 0.7:
        warp = np.float32(rng.uniform(0, bend) / cycles * 2)
        x = x + warp * pink(rng, px, 2.5)
        y = y + warp * pink(rng, px, 2.5)
    half = np.float32(cycles / 2)
    return x * half, y * half


def _fraction(field: Field) -> Field:
    """Distance to the nearest period's middle, in [0, 0.5]."""
    return np.abs(field - np.floor(field) - 0.5)


def _sharp(field: Field, rng: Rng) -> Field:
    return squash(field * rng.uniform(6, 12))


def _stripes(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, _ = _plane(rng, px, cycles)
        return 0.5 + 0.5 * np.sin(_TAU * u)

    return draw


def _lines(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, _ = _plane(rng, px, cycles)
        return _sharp(rng.uniform(0.08, 0.16) - _fraction(u), rng)

    return draw


def _wavy(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 5)
    u = u + rng.uniform(0.35, 0.6) * np.sin(_TAU * v * 0.5)
    return 0.5 + 0.5 * np.sin(_TAU * u)


def _chevron(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 5)
    return _sharp(np.sin(_TAU * (u + 2 * _fraction(v * 0.5))) * 0.3, rng)


def _plaid(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 4)
    return rescale(np.sin(_TAU * u) + np.sin(_TAU * v))


def _mesh(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 6)
    width = rng.uniform(0.08, 0.15)
    return _sharp(width - np.minimum(_fraction(u), _fraction(v)), rng)


def _hexagonal(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 5)
    waves = [
        np.cos(_TAU * (u * math.cos(a) + v * math.sin(a)))
        for a in (0, _TAU / 6, _TAU / 3)
    ]
    return rescale(waves[0] + waves[1] + waves[2])


def _checks(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 4)
    return _sharp(np.sin(_TAU * u) * np.sin(_TAU * v) * 0.4, rng)


def _bricks(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 6)
    u = u * 0.5 + 0.5 * (np.floor(v) % 2)
    gap = rng.uniform(0.06, 0.1)
    joint = np.minimum(0.5 - _fraction(u), (0.5 - _fraction(v)))
    return _sharp(joint - gap, rng)


def _lattice_dots(shifted: bool, hollow: bool) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, v = _plane(rng, px, 6)
        if shifted:
            u = u + 0.5 * (np.floor(v) % 2)
        rho = np.hypot(_fraction(u), _fraction(v))
        if hollow:
            return _sharp(0.08 - np.abs(rho - 0.3), rng)
        return _sharp(rng.uniform(0.2, 0.34) - rho, rng)

    return draw


def _crosses(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 5)
    a, b = _fraction(u), _fraction(v)
    arms = np.maximum(
        np.minimum(0.1 - a, 0.34 - b), np.minimum(0.1 - b, 0.34 - a)
    )
    return _sharp(2 * arms, rng)


def _scales(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 5)
    u = u + 0.5 * (np.floor(v) % 2)
    rise = v - np.floor(v)
    arc = np.sqrt(np.maximum(1 - (2 * _fraction(u)) ** 2, 0))
    return np.mod(rise - 0.7 * arc, 1.0)


def _weave(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 6)
    over = (np.floor(u) + np.floor(v)) % 2
    across = np.where(over > 0, _fraction(u), _fraction(v))
    return 1 - 2 * across


def _triangles(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 4)
    w = u * 0.5 + v * 0.866
    return _sharp(
        (np.mod(u, 1) + np.mod(w, 1) - 1) * (np.mod(u, 1) - 0.5 + 0.3), rng
    )


def _rings(rng: Rng, px: int) -> Field:
    u, v = _plane(rng, px, 6, bend=0.5)
    return 0.5 + 0.5 * np.sin(_TAU * np.hypot(u, v))


def _spiral(arms: int) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        x, y = pose(rng, px, scale=(0.8, 1.2), shift=0.4)
        hand = rng.choice([-1, 1])
        turns = hand * arms * np.arctan2(y, x) / _TAU
        rho = np.hypot(x, y)
        return 0.5 + 0.5 * np.sin(_TAU * (turns + rng.uniform(2, 4) * rho))

    return draw


def _sectors(rng: Rng, px: int) -> Field:
    x, y = pose(rng, px, scale=(0.8, 1.2), shift=0.4)
    count = int(rng.integers(5, 10))
    return _sharp(0.3 * np.sin(count * np.arctan2(y, x)), rng)


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
    return lambda rng, px: _sharp(0.5 * band(rng, px, cycles, 0.16), rng)


def _spots(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        level = rng.uniform(0.8, 1.2)
        return _sharp(0.5 * (band(rng, px, cycles, 0.16) - level), rng)

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
    u, _ = _plane(rng, px, 4, bend=0)
    return 0.5 + 0.5 * np.sin(_TAU * u + 2.5 * pink(rng, px, 1.5))


def _terraces(rng: Rng, px: int) -> Field:
    levels = rng.uniform(1.2, 2.2)
    field = levels * pink(rng, px, 2.2)
    return field - np.floor(field)


def _islands(rng: Rng, px: int) -> Field:
    return _sharp(pink(rng, px, 1.8) * 0.8, rng)


def _sparse(rng: Rng, px: int) -> Field:
    """Specks: a few hundred single points, a little blurred."""
    field = band(rng, px, 14, 0.5) - rng.uniform(1.6, 2.0)
    return _sharp(0.5 * field, rng)


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
        turn = rng.uniform(0, _TAU)
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
        return _sharp(rng.uniform(0.1, 0.2) - gap, rng)

    return draw


TEXTURES: dict[str, Texture] = {
    "stripes_wide": _stripes(3.5),
    "stripes_fine": _stripes(9),
    "lines": _lines(6),
    "wavy": _wavy,
    "chevron": _chevron,
    "plaid": _plaid,
    "mesh": _mesh,
    "hexagonal": _hexagonal,
    "checks": _checks,
    "bricks": _bricks,
    "dots_square": _lattice_dots(False, False),
    "dots_shifted": _lattice_dots(True, False),
    "rings_lattice": _lattice_dots(False, True),
    "crosses": _crosses,
    "scales": _scales,
    "weave": _weave,
    "triangles": _triangles,
    "rings": _rings,
    "spiral_1": _spiral(1),
    "spiral_3": _spiral(3),
    "sectors": _sectors,
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


def draw_texture(rng: Rng, px: int, name: str) -> Figure:
    """One of the pictures of a class of textures, over the whole picture."""
    value = np.clip(TEXTURES[name](rng, px), 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        value = 1 - value
    # Often with relief, so that light and not the palette shows it.
    depth = rng.uniform(0, 0.12) * (rng.random() < 0.7)
    return Figure(
        alpha=np.ones((px, px), np.float32), value=value, height=depth * value
    )
