"""Outlines, as lists of points. y points down, as it does in pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainer.demo.draws import Draws

Point = tuple[float, float]
Outline = list[Point]


def turned(
    points: Sequence[Point], x: float, y: float, angle: float
) -> Outline:
    """Turned about the origin, then moved by (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in points]


def shrunk(points: Sequence[Point], factor: float) -> Outline:
    """Drawn in towards the middle of its points."""
    x = sum(p[0] for p in points) / len(points)
    y = sum(p[1] for p in points) / len(points)
    return [(x + factor * (u - x), y + factor * (v - y)) for u, v in points]


def ellipse(
    x: float,
    y: float,
    rx: float,
    ry: float,
    angle: float = 0.0,
    corners: int = 18,
) -> Outline:
    """A regular polygon of that many corners, stretched and turned."""
    steps = [2 * math.pi * i / corners for i in range(corners)]
    return turned(
        [(rx * math.cos(t), ry * math.sin(t)) for t in steps], x, y, angle
    )


def disc(x: float, y: float, radius: float, corners: int = 18) -> Outline:
    """A round one."""
    return ellipse(x, y, radius, radius, 0.0, corners)


def blob(
    draws: Draws,
    x: float,
    y: float,
    rx: float,
    ry: float,
    wobble: float = 0.15,
    angle: float = 0.0,
    corners: int = 16,
) -> Outline:
    """An ellipse whose radius wavers by up to the fraction `wobble`."""
    waves = [
        (k, draws.angle(), wobble * draws.uniform(0.3, 1.0) / math.sqrt(k))
        for k in (2, 3, 5)
    ]
    points = []
    for i in range(corners):
        t = 2 * math.pi * i / corners
        r = 1 + sum(a * math.sin(k * t + p) for k, p, a in waves) / 1.5
        points.append((rx * r * math.cos(t), ry * r * math.sin(t)))
    return turned(points, x, y, angle)


def wedge(
    x: float, y: float, radius: float, start: float, stop: float
) -> Outline:
    """A piece of a disc with its point at (x, y)."""
    n = max(3, int((stop - start) / 0.25))
    arc = [start + (stop - start) * i / n for i in range(n + 1)]
    rim = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in arc]
    return [(x, y), *rim]


def box(
    x: float, y: float, width: float, height: float, angle: float = 0.0
) -> Outline:
    """A rectangle around (x, y)."""
    u, v = width / 2, height / 2
    return turned([(-u, -v), (u, -v), (u, v), (-u, v)], x, y, angle)


def capsule(
    x: float, y: float, length: float, width: float, angle: float = 0.0
) -> Outline:
    """A rectangle with round ends; `length` includes these."""
    r = width / 2
    u = max(0.0, length / 2 - r)
    k = 0.7071 * r
    right = [(u, -r), (u + k, -k), (u + r, 0.0), (u + k, k), (u, r)]
    return turned([*right, *((-a, -b) for a, b in right)], x, y, angle)


def rounded(
    x: float, y: float, width: float, height: float, radius: float
) -> Outline:
    """A rectangle with round corners."""
    u, v = width / 2 - radius, height / 2 - radius
    points = []
    for quarter, (cx, cy) in enumerate([(u, v), (-u, v), (-u, -v), (u, -v)]):
        for i in range(4):
            t = math.pi / 2 * (quarter + i / 3)
            points.append(
                (x + cx + radius * math.cos(t), y + cy + radius * math.sin(t))
            )
    return points


def wave(
    start: Point, stop: Point, height: float, periods: float, phase: float = 0
) -> Outline:
    """An open sine from one point to another."""
    length = math.hypot(stop[0] - start[0], stop[1] - start[1])
    turn = math.atan2(stop[1] - start[1], stop[0] - start[0])
    n = max(4, round(periods * 8))
    points = [
        (
            length * i / n,
            height * math.sin(2 * math.pi * periods * i / n + phase),
        )
        for i in range(n + 1)
    ]
    return turned(points, *start, turn)


def ribbon(path: Sequence[Point], width: float) -> Outline:
    """The band of that width along an open path."""
    left, right = [], []
    last = len(path) - 1
    for i, (x, y) in enumerate(path):
        (ax, ay), (bx, by) = path[max(0, i - 1)], path[min(last, i + 1)]
        dx, dy = bx - ax, by - ay
        k = width / 2 / max(1e-9, math.hypot(dx, dy))
        left.append((x - dy * k, y + dx * k))
        right.append((x + dy * k, y - dx * k))
    return left + right[::-1]
