"""Bundles of strokes, drawn as lines at twice the size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from tools.pretrain.fields import Figure, Rng, blur, pink

_OVERSIZE = 2
# A line is float (n, 2): x and y in [-1, 1].
Lines = list[np.ndarray]
Bundle = Callable[[Rng], tuple[Lines, float]]


def _segments(middle: np.ndarray, angle: np.ndarray, half: float) -> Lines:
    along = half * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return list(np.stack([middle - along, middle + along], axis=1))


def _parallel(rng: Rng) -> tuple[Lines, float]:
    n, angle = int(rng.integers(7, 14)), rng.uniform(0, math.pi)
    offset = np.linspace(-0.9, 0.9, n) + rng.normal(0, 0.03, n)
    normal = np.array([-math.sin(angle), math.cos(angle)])
    middle = offset[:, None] * normal + rng.normal(0, 0.1, (n, 2))
    return _segments(middle, angle + rng.normal(0, 0.06, n), 0.8), 0.05


def _crossed(rng: Rng) -> tuple[Lines, float]:
    angle = rng.uniform(0, math.pi)
    lines: Lines = []
    for turn in (0, rng.uniform(1.0, 1.57)):
        n = int(rng.integers(5, 9))
        offset = np.linspace(-0.8, 0.8, n) + rng.normal(0, 0.03, n)
        a = angle + turn
        middle = offset[:, None] * np.array([-math.sin(a), math.cos(a)])
        lines += _segments(middle, np.full(n, a), 0.95)
    return lines, 0.05


def _sticks(rng: Rng) -> tuple[Lines, float]:
    n = int(rng.integers(14, 26))
    middle = rng.normal(0, 0.4, (n, 2))
    return _segments(middle, rng.uniform(0, math.pi, n), 0.5), 0.07


def _dashes(rng: Rng) -> tuple[Lines, float]:
    n = int(rng.integers(40, 70))
    middle = rng.uniform(-1, 1, (n, 2))
    return _segments(middle, rng.uniform(0, math.pi, n), 0.1), 0.06


def _flow(rng: Rng) -> tuple[Lines, float]:
    n, px = int(rng.integers(60, 100)), 16
    middle = rng.uniform(-1, 1, (n, 2))
    at = np.clip((middle + 1) * px / 2, 0, px - 1).astype(int)
    angle = 1.2 * pink(rng, px, 2.5)[at[:, 1], at[:, 0]]
    return _segments(middle, angle + rng.uniform(0, math.pi), 0.13), 0.045


def _burst(rng: Rng) -> tuple[Lines, float]:
    n = int(rng.integers(9, 22))
    angle = np.linspace(0, 2 * math.pi, n, endpoint=False)
    angle += rng.uniform(0, 6) + rng.normal(0, 0.08, n)
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    middle = rng.uniform(-0.3, 0.3, 2)
    inner = rng.uniform(0, 0.25)
    outer = rng.uniform(0.7, 0.95)
    return list(
        np.stack([middle + inner * ray, middle + outer * ray], axis=1)
    ), 0.055


def _walks(
    count: tuple[int, int], steps: int, step: float, turn: float, width: float
) -> Bundle:
    """Curves whose direction drifts; `turn` says how fast."""

    def draw(rng: Rng) -> tuple[Lines, float]:
        n = int(rng.integers(*count))
        bend = rng.normal(0, turn, (n, steps)).cumsum(1) * 0.5
        angle = rng.uniform(0, 6.3, (n, 1)) + bend.cumsum(1)
        path = step * np.stack([np.cos(angle), np.sin(angle)], 2).cumsum(1)
        path -= path.mean(1, keepdims=True)
        return list(path + rng.normal(0, 0.35, (n, 1, 2))), width

    return draw


def _loops(rng: Rng) -> tuple[Lines, float]:
    n = int(rng.integers(6, 13))
    angle = np.linspace(0, 2 * math.pi, 20)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return [
        rng.uniform(0.15, 0.4) * circle + rng.uniform(-0.75, 0.75, 2)
        for _ in range(n)
    ], 0.05


def _arcs(rng: Rng) -> tuple[Lines, float]:
    n, middle = int(rng.integers(5, 9)), rng.uniform(-0.4, 0.4, 2)
    lines = []
    for radius in np.linspace(0.25, 1.1, n):
        angle = rng.uniform(0, 6.3) + np.linspace(0, rng.uniform(1, 4), 24)
        arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        lines.append(middle + radius * arc)
    return lines, 0.06


def _zigzags(rng: Rng) -> tuple[Lines, float]:
    n, teeth = int(rng.integers(4, 7)), int(rng.integers(8, 14))
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array(
        [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
    )
    lines = []
    for offset in np.linspace(-0.75, 0.75, n):
        x = np.linspace(-1, 1, teeth)
        y = offset + 0.12 * (-1.0) ** np.arange(teeth)
        lines.append(np.stack([x, y], axis=1) @ turn)
    return lines, 0.05


def _spirals(rng: Rng) -> tuple[Lines, float]:
    lines = []
    for _ in range(int(rng.integers(2, 6))):
        t = np.linspace(0, 1, 36)
        angle = rng.choice([-1, 1]) * 2 * math.pi * rng.uniform(2, 3) * t
        curl = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        size = rng.uniform(0.3, 0.5)
        lines.append(size * t[:, None] * curl + rng.uniform(-0.6, 0.6, 2))
    return lines, 0.05


def _tree(rng: Rng) -> tuple[Lines, float]:
    lines: Lines = []
    spread = rng.uniform(0.4, 0.8)

    def grow(at: np.ndarray, angle: float, length: float, depth: int) -> None:
        end = at + length * np.array([math.cos(angle), math.sin(angle)])
        lines.append(np.stack([at, end]))
        if depth:
            for side in (-1, 1):
                grow(
                    end,
                    angle + side * spread * rng.uniform(0.6, 1.4),
                    length * rng.uniform(0.6, 0.8),
                    depth - 1,
                )

    angle = rng.uniform(0, 2 * math.pi)
    start = -0.8 * np.array([math.cos(angle), math.sin(angle)])
    grow(start, angle, 0.55, 4)
    return lines, 0.05


BUNDLES: dict[str, Bundle] = {
    "parallel": _parallel,
    "crossed": _crossed,
    "sticks": _sticks,
    "dashes": _dashes,
    "flow": _flow,
    "burst": _burst,
    "threads": _walks((10, 20), 24, 0.08, 0.12, 0.06),
    "curls": _walks((6, 12), 30, 0.07, 0.3, 0.07),
    "scribble": _walks((1, 2), 140, 0.12, 0.25, 0.05),
    "worms": _walks((14, 24), 6, 0.08, 0.25, 0.13),
    "loops": _loops,
    "arcs": _arcs,
    "zigzags": _zigzags,
    "spirals": _spirals,
    "tree": _tree,
}


def draw_strokes(rng: Rng, px: int, name: str) -> Figure:
    """One of the pictures of a class of strokes."""
    lines, width = BUNDLES[name](rng)
    side = px * _OVERSIZE
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    scale = rng.uniform(0.7, 1.0)
    middle = 1 + rng.uniform(-0.15, 0.15, 2)
    width_px = max(2, round(width * rng.uniform(0.7, 1.4) * side / 2))
    # Later strokes lie on top, each with its own shade.
    for line in lines:
        points = (line * scale + middle) * (side / 2)
        shade = int(rng.integers(60, 256))
        pen.line(points.ravel().tolist(), shade, width_px, "curve")
    fine = np.asarray(image, np.float32).reshape(px, 2, px, 2)
    alpha = (fine > 0).mean(axis=(1, 3), dtype=np.float32)
    value = fine.mean(axis=(1, 3)) / 255 / np.maximum(alpha, 0.25)
    height = 0.1 * rng.uniform(0, 1) * blur(alpha * value, 1.0)
    return Figure(alpha=alpha, value=np.clip(value, 0, 1), height=height)
