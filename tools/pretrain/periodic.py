"""Textures that repeat: waves, lattices, rings, spirals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tools.pretrain.fields import Field, Rng, pink, pose, rescale, squash

Texture = Callable[[Rng, int], Field]
TAU = 2 * math.pi


def plane(
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


def sharp(field: Field, rng: Rng) -> Field:
    return squash(field * rng.uniform(6, 12))


def _stripes(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, _ = plane(rng, px, cycles)
        return 0.5 + 0.5 * np.sin(TAU * u)

    return draw


def _lines(cycles: float) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, _ = plane(rng, px, cycles)
        return sharp(rng.uniform(0.08, 0.16) - _fraction(u), rng)

    return draw


def _wavy(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 5)
    u = u + rng.uniform(0.35, 0.6) * np.sin(TAU * v * 0.5)
    return 0.5 + 0.5 * np.sin(TAU * u)


def _chevron(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 5)
    return sharp(np.sin(TAU * (u + 2 * _fraction(v * 0.5))) * 0.3, rng)


def _plaid(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 4)
    return rescale(np.sin(TAU * u) + np.sin(TAU * v))


def _mesh(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 6)
    width = rng.uniform(0.08, 0.15)
    return sharp(width - np.minimum(_fraction(u), _fraction(v)), rng)


def _hexagonal(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 5)
    waves = [
        np.cos(TAU * (u * math.cos(a) + v * math.sin(a)))
        for a in (0, TAU / 6, TAU / 3)
    ]
    return rescale(waves[0] + waves[1] + waves[2])


def _checks(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 4)
    return sharp(np.sin(TAU * u) * np.sin(TAU * v) * 0.4, rng)


def _bricks(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 6)
    u = u * 0.5 + 0.5 * (np.floor(v) % 2)
    gap = rng.uniform(0.06, 0.1)
    joint = np.minimum(0.5 - _fraction(u), (0.5 - _fraction(v)))
    return sharp(joint - gap, rng)


def _lattice_dots(shifted: bool, hollow: bool) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        u, v = plane(rng, px, 6)
        if shifted:
            u = u + 0.5 * (np.floor(v) % 2)
        rho = np.hypot(_fraction(u), _fraction(v))
        if hollow:
            return sharp(0.08 - np.abs(rho - 0.3), rng)
        return sharp(rng.uniform(0.2, 0.34) - rho, rng)

    return draw


def _crosses(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 5)
    a, b = _fraction(u), _fraction(v)
    arms = np.maximum(
        np.minimum(0.1 - a, 0.34 - b), np.minimum(0.1 - b, 0.34 - a)
    )
    return sharp(2 * arms, rng)


def _scales(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 5)
    u = u + 0.5 * (np.floor(v) % 2)
    rise = v - np.floor(v)
    arc = np.sqrt(np.maximum(1 - (2 * _fraction(u)) ** 2, 0))
    return np.mod(rise - 0.7 * arc, 1.0)


def _weave(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 6)
    over = (np.floor(u) + np.floor(v)) % 2
    across = np.where(over > 0, _fraction(u), _fraction(v))
    return 1 - 2 * across


def _triangles(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 4)
    w = u * 0.5 + v * 0.866
    return sharp(
        (np.mod(u, 1) + np.mod(w, 1) - 1) * (np.mod(u, 1) - 0.5 + 0.3), rng
    )


def _rings(rng: Rng, px: int) -> Field:
    u, v = plane(rng, px, 6, bend=0.5)
    return 0.5 + 0.5 * np.sin(TAU * np.hypot(u, v))


def _spiral(arms: int) -> Texture:
    def draw(rng: Rng, px: int) -> Field:
        x, y = pose(rng, px, scale=(0.8, 1.2), shift=0.4)
        hand = rng.choice([-1, 1])
        turns = hand * arms * np.arctan2(y, x) / TAU
        rho = np.hypot(x, y)
        return 0.5 + 0.5 * np.sin(TAU * (turns + rng.uniform(2, 4) * rho))

    return draw


def _sectors(rng: Rng, px: int) -> Field:
    x, y = pose(rng, px, scale=(0.8, 1.2), shift=0.4)
    count = int(rng.integers(5, 10))
    return sharp(0.3 * np.sin(count * np.arctan2(y, x)), rng)


PERIODIC: dict[str, Texture] = {
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
}
