"""Fractals: attractors of random maps, drawn as densities.

Each class is one iterated function system; its pictures vary the system's
numbers a little, as FractalDB's do, and its place in the picture a lot. Half
of the classes bend the plane after each affine map, as flames do.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from tools.pretrain.fields import Field, Figure, Rng, blur

_WALKERS = 500
_STEPS = 20
_DISCARDED = 8
# Share of a 32 x 32 raster that a usable attractor covers.
_COVER = (0.16, 0.55)
_BENDS = ("none", "sine", "swirl", "bubble", "horseshoe")


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """An iterated function system.

    Attributes:
      maps: float32 (n, 2, 3), affine.
      odds: float64 (n,), of choosing each map, cumulated.
      bend: what happens to a point after its map.
    """

    maps: np.ndarray
    odds: np.ndarray
    bend: str


def _random_system(rng: Rng, bend: str) -> System:
    count = int(rng.integers(2, 6))
    maps = np.empty((count, 2, 3), np.float32)
    for i in range(count):
        first, second = rng.uniform(0, 2 * math.pi, 2)
        large = rng.uniform(0.4, 0.85)
        small = large * rng.uniform(0.25, 1.0) * rng.choice([-1, 1])
        maps[i, :, :2] = (
            _rotation(first) @ np.diag([large, small]) @ _rotation(second)
        )
        maps[i, :, 2] = rng.uniform(-1, 1, 2)
    areas = np.abs(np.linalg.det(maps[:, :, :2])) + 0.02
    return System(maps=maps, odds=np.cumsum(areas / areas.sum()), bend=bend)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _bent(x: Field, y: Field, bend: str) -> tuple[Field, Field]:
    if bend == "sine":
        return np.sin(1.5 * x), np.sin(1.5 * y)
    square = x * x + y * y
    if bend == "swirl":
        sin, cos = np.sin(square), np.cos(square)
        return x * sin - y * cos, x * cos + y * sin
    if bend == "bubble":
        factor = 4 / (square + 4)
        return 1.6 * x * factor, 1.6 * y * factor
    if bend == "horseshoe":
        radius = np.sqrt(square) + 1e-6
        return (x - y) * (x + y) / radius, 2 * x * y / radius
    return x, y


def _orbit(rng: Rng, system: System) -> tuple[Field, Field, Field]:
    """x, y in about [-1, 1], and the maps' own colours in [0, 1]."""
    choices = np.searchsorted(
        system.odds[:-1], rng.random((_STEPS, _WALKERS)), side="right"
    )
    x, y = rng.uniform(-0.5, 0.5, (2, _WALKERS)).astype(np.float32)
    tint = np.full(_WALKERS, 0.5, np.float32)
    tints = np.linspace(0, 1, len(system.maps), dtype=np.float32)
    points = np.empty((3, _STEPS, _WALKERS), np.float32)
    for step, chosen in enumerate(choices):
        a = system.maps[chosen].reshape(-1, 6).T
        x, y = a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]
        if system.bend != "none":
            x, y = _bent(x, y, system.bend)
        tint = 0.5 * (tint + tints[chosen])
        points[0, step], points[1, step], points[2, step] = x, y, tint
    x, y, tint = points[:, _DISCARDED:].reshape(3, -1)
    # The middle 96 % decide the frame: outliers are rare and far.
    for axis in (x, y):
        some = np.sort(axis[::8])
        low, high = some[len(some) // 50], some[-1 - len(some) // 50]
        axis -= (low + high) / 2
        axis /= max((high - low) / 2, 1e-3)
    return x, y, tint


def _raster(x: Field, y: Field, px: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices into a flat (px, px) raster, and which points lie in it."""
    column = np.floor((x + 1) * (px / 2)).astype(np.int64)
    row = np.floor((y + 1) * (px / 2)).astype(np.int64)
    seen = (column >= 0) & (column < px) & (row >= 0) & (row < px)
    return (row * px + column)[seen], seen


@functools.cache
def system_of_class(number: int) -> System:
    """The first of the class's random systems that covers enough."""
    rng = np.random.default_rng([20, number])
    bend = _BENDS[number % len(_BENDS)] if number % 2 else "none"
    while True:
        system = _random_system(rng, bend)
        x, y, _ = _orbit(np.random.default_rng(0), system)
        if not np.isfinite(x).all() or not np.isfinite(y).all():
            continue
        cover = len(np.unique(_raster(0.95 * x, 0.95 * y, 32)[0])) / 1024
        if _COVER[0] < cover < _COVER[1]:
            return system


def draw_fractal(rng: Rng, px: int, number: int) -> Figure:
    """One of the pictures of a class."""
    system = system_of_class(number)
    maps = system.maps.copy()
    maps[:, :, :2] *= rng.uniform(0.93, 1.07, (len(maps), 1, 1))
    maps += rng.uniform(-0.05, 0.05, maps.shape)
    x, y, tint = _orbit(rng, dataclasses.replace(system, maps=maps))
    turn = _rotation(rng.uniform(0, 2 * math.pi)).astype(np.float32)
    size = np.float32(rng.uniform(0.6, 0.95))
    narrow = np.float32(rng.uniform(0.75, 1.0))
    dx, dy = rng.uniform(-0.2, 0.2, 2).astype(np.float32)
    x, y = x * size, y * size * narrow
    index, seen = _raster(
        turn[0, 0] * x + turn[0, 1] * y + dx,
        turn[1, 0] * x + turn[1, 1] * y + dy,
        px,
    )
    count = np.bincount(index, minlength=px * px)
    tints = np.bincount(index, tint[seen], minlength=px * px)
    sigma = rng.uniform(0.6, 1.0)
    both = count.reshape(px, px) + 1j * tints.reshape(px, px)
    density = np.maximum(blur(both.real, sigma), 0)
    value = blur(both.imag, sigma) / (density + 0.02)
    alpha = np.clip(density * rng.uniform(0.9, 2.0), 0, 1)
    height = 0.06 * np.log1p(density)
    return Figure(alpha=alpha, value=np.clip(value, 0, 1), height=height)
