"""Repeated elements: how many there are, and how they lie."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tools.pretrain.contours import Contour, inside
from tools.pretrain.fields import Figure, Rng, edge, grid

# Float (n, 3): x, y and radius of each element, the lowest first.
Places = np.ndarray
Layout = Callable[[Rng], Places]

ELEMENTS: dict[str, Contour] = {
    "disc": Contour(kind="superellipse", order=2),
    "ring": Contour(kind="ring", order=0),
    "square": Contour(kind="polygon", order=4),
    "triangle": Contour(kind="polygon", order=3),
    "star": Contour(kind="star", order=5),
    "crescent": Contour(kind="crescent", order=0),
}


def _places(xy: np.ndarray, radius: float | np.ndarray) -> Places:
    return np.column_stack([xy, np.broadcast_to(radius, len(xy))])


def _turned(rng: Rng, xy: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    return xy @ np.array([[cos, -sin], [sin, cos]]) + rng.uniform(
        -0.12, 0.12, 2
    )


def _grid(rng: Rng) -> Places:
    side = int(rng.integers(3, 5))
    line = np.linspace(-1, 1, side) * 0.62
    xy = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    return _places(_turned(rng, xy), rng.uniform(0.6, 0.95) * 0.62 / side * 1.3)


def _circle(rng: Rng) -> Places:
    n = int(rng.integers(6, 11))
    angle = np.arange(n) * (2 * math.pi / n)
    xy = 0.65 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _places(_turned(rng, xy), rng.uniform(1.2, 2.0) / n)


def _row(rng: Rng) -> Places:
    n = int(rng.integers(4, 7))
    xy = np.stack([np.linspace(-0.75, 0.75, n), np.zeros(n)], axis=1)
    return _places(_turned(rng, xy), rng.uniform(0.8, 1.4) / n)


def _heap(rng: Rng) -> Places:
    n = int(rng.integers(16, 26))
    xy = rng.normal(0, 0.32, (n, 2))
    # Those in the middle lie on top.
    xy = xy[np.argsort(-np.hypot(*xy.T))]
    return _places(xy + rng.uniform(-0.15, 0.15, 2), rng.uniform(0.2, 0.3))


def _packed(rng: Rng) -> Places:
    n = int(rng.integers(40, 60))
    return _places(rng.uniform(-1, 1, (n, 2)), rng.uniform(0.17, 0.26))


def _scattered(rng: Rng) -> Places:
    n = int(rng.integers(6, 10))
    line = np.array([-0.66, 0.0, 0.66])
    cells = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    xy = rng.permutation(cells)[:n] + rng.uniform(-0.2, 0.2, (n, 2))
    return _places(xy, rng.uniform(0.1, 0.25, n))


def _stack(rng: Rng) -> Places:
    n = int(rng.integers(4, 7))
    xy = np.stack([rng.normal(0, 0.05, n), np.linspace(0.5, -0.5, n)], axis=1)
    return _places(_turned(rng, xy), rng.uniform(0.38, 0.5))


def _nested(rng: Rng) -> Places:
    n = int(rng.integers(3, 6))
    xy = rng.uniform(-0.15, 0.15, 2) + rng.normal(0, 0.02, (n, 2))
    return _places(xy, np.linspace(0.9, 0.2, n))


def _count(n: int) -> Layout:
    def draw(rng: Rng) -> Places:
        angle = np.arange(n) * (2 * math.pi / n) + rng.normal(0, 0.15, n)
        reach = 0.0 if n == 1 else rng.uniform(0.45, 0.6)
        xy = reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return _places(_turned(rng, xy), rng.uniform(0.28, 0.36, n))

    return draw


LAYOUTS: dict[str, Layout] = {
    "grid": _grid,
    "circle": _circle,
    "row": _row,
    "heap": _heap,
    "packed": _packed,
    "scattered": _scattered,
    "stack": _stack,
    "nested": _nested,
    "count_2": _count(2),
    "count_3": _count(3),
    "count_4": _count(4),
}


def draw_arrangement(
    rng: Rng, px: int, elements: tuple[str, ...], layout: str
) -> Figure:
    """One of the pictures of a class; all its elements are of one kind."""
    contour = ELEMENTS[elements[int(rng.integers(len(elements)))]]
    x, y = grid(px)
    alpha = np.zeros((px, px), np.float32)
    value, height = alpha.copy(), alpha.copy()
    turn = rng.uniform(0, 2 * math.pi)
    loose = rng.random() < 0.5
    dome = rng.uniform(0, 0.7)
    rim = rng.uniform(-0.4, 0.4)
    tilt = rng.uniform(0.65, 1.0)
    spread = rng.uniform(0.1, 0.5)
    for a, b, radius in LAYOUTS[layout](rng):
        # Only the pixels around the element.
        left, top = ((np.array([a, b]) - radius + 1) * px / 2).astype(int) - 1
        size = int(radius * px) + 3
        if left < -size or top < -size:
            continue
        box = (
            slice(max(top, 0), max(top + size, 0)),
            slice(max(left, 0), max(left + size, 0)),
        )
        if loose:
            turn = rng.uniform(0, 2 * math.pi)
        cos, sin = math.cos(turn) / radius, math.sin(turn) / radius
        dx, dy = x[box] - np.float32(a), (y[box] - np.float32(b)) / tilt
        depth = inside(
            contour, rng, cos * dx - sin * dy, sin * dx + cos * dy
        ).astype(np.float32)
        cover = edge(depth, px, float(radius))
        ramp = np.clip(depth, 0, 1)
        shade = 0.5 + spread * rng.uniform(-1, 1) + rim * (ramp - 0.4)
        relief = dome * radius * np.sqrt(ramp)
        value[box] += cover * (shade - value[box])
        height[box] += cover * (relief - height[box])
        alpha[box] = np.maximum(alpha[box], cover)
    return Figure(alpha=alpha, value=np.clip(value, 0, 1), height=height)
