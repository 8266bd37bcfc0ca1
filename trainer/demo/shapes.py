"""Outlines as lists of points; y points down, as in images."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Outline = list[Point]


def polar(x: float, y: float, radius: float, angle: float) -> Point:
    """Returns the point at a distance and an angle from (x, y)."""
    return x + radius * math.cos(angle), y + radius * math.sin(angle)


def turned(
    points: Sequence[Point], x: float, y: float, angle: float, size: float = 1
) -> Outline:
    """Returns points scaled, turned about the origin and moved by (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    scaled = [(size * u, size * v) for u, v in points]
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in scaled]


def shrunk(points: Sequence[Point], factor: float) -> Outline:
    """Returns points moved towards their mean."""
    x = sum(p[0] for p in points) / len(points)
    y = sum(p[1] for p in points) / len(points)
    return [(x + factor * (u - x), y + factor * (v - y)) for u, v in points]


def ellipse(
    x: float, y: float, rx: float, ry: float, angle: float = 0, sides: int = 18
) -> Outline:
    """Returns a regular polygon, stretched and turned."""
    steps = [2 * math.pi * i / sides for i in range(sides)]
    points = [(rx * math.cos(t), ry * math.sin(t)) for t in steps]
    return turned(points, x, y, angle)


def disc(x: float, y: float, radius: float, sides: int = 18) -> Outline:
    """Returns a regular polygon with this number of sides."""
    return ellipse(x, y, radius, radius, 0, sides)


def wedge(
    x: float, y: float, radius: float, start: float, stop: float
) -> Outline:
    """Returns a sector of a disc around (x, y)."""
    n = max(3, int((stop - start) / 0.25))
    arc = [start + (stop - start) * i / n for i in range(n + 1)]
    return [(x, y), *(polar(x, y, radius, t) for t in arc)]


def box(
    x: float, y: float, width: float, height: float, angle: float = 0.0
) -> Outline:
    """Returns a rectangle centred on (x, y)."""
    u, v = width / 2, height / 2
    return turned([(-u, -v), (u, -v), (u, v), (-u, v)], x, y, angle)


def capsule(
    x: float, y: float, length: float, width: float, angle: float = 0.0
) -> Outline:
    """Returns a rectangle with round ends, which `length` includes."""
    r = width / 2
    u = max(0.0, length / 2 - r)
    k = 0.7071 * r
    right = [(u, -r), (u + k, -k), (u + r, 0.0), (u + k, k), (u, r)]
    return turned([*right, *((-a, -b) for a, b in right)], x, y, angle)


def rounded(
    x: float, y: float, width: float, height: float, radius: float
) -> Outline:
    """Returns a rectangle with round corners."""
    u, v = width / 2 - radius, height / 2 - radius
    points = []
    for quarter, (cx, cy) in enumerate([(u, v), (-u, v), (-u, -v), (u, -v)]):
        for i in range(4):
            t = math.pi / 2 * (quarter + i / 3)
            points.append(polar(x + cx, y + cy, radius, t))
    return points


def wave(
    start: Point, stop: Point, height: float, periods: float, phase: float = 0
) -> Outline:
    """Returns an open sine curve from one point to another."""
    length = math.hypot(stop[0] - start[0], stop[1] - start[1])
    turn = math.atan2(stop[1] - start[1], stop[0] - start[0])
    n = max(4, round(periods * 8))
    points = []
    for i in range(n + 1):
        level = height * math.sin(2 * math.pi * periods * i / n + phase)
        points.append((length * i / n, level))
    return turned(points, *start, turn)


def ribbon(path: Sequence[Point], width: float) -> Outline:
    """Returns a band of this width along an open path."""
    left, right = [], []
    last = len(path) - 1
    for i, (x, y) in enumerate(path):
        (ax, ay), (bx, by) = path[max(0, i - 1)], path[min(last, i + 1)]
        dx, dy = bx - ax, by - ay
        k = width / 2 / max(1e-9, math.hypot(dx, dy))
        left.append((x - dy * k, y + dx * k))
        right.append((x + dy * k, y - dx * k))
    return left + right[::-1]
