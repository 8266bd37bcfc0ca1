"""Closed contours r(angle): radial harmonics, polygons, superformula.

Harmonic contours are those of RCDB and VisualAtom: a circle plus a few waves
around it. A class is a set of frequencies and a manner of filling; amplitudes
and phases vary inside it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tools.pretrain.fields import Field, Figure, Rng, edge, pose

FILLS = ("solid", "outline", "nested")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contour:
    """What a class of contours has in common.

    Attributes:
      kind: harmonic, polygon, star, petals, gear, superellipse, crescent,
        ring, drop or cross.
      order: corners, petals, teeth; the lower frequency of `harmonic`.
      second: the higher frequency of `harmonic`.
    """

    kind: str
    order: int
    second: int = 0


def inside(contour: Contour, rng: Rng, x: Field, y: Field) -> Field:
    """Positive inside, about minus the distance outside; 1 in the middle."""
    rho = np.sqrt(x * x + y * y)
    kind, n = contour.kind, contour.order
    if kind == "superellipse":
        power = np.float32(n * rng.uniform(0.9, 1.1))
        reach = (np.abs(x) ** power + np.abs(1.3 * y) ** power + 1e-9) ** (
            1 / power
        )
        return 1 - reach
    if kind == "crescent":
        offset = rng.uniform(0.35, 0.6)
        other = np.sqrt((x - offset) ** 2 + y * y)
        return np.minimum(1 - rho, other - rng.uniform(0.75, 0.9))
    if kind == "ring":
        hole = rng.uniform(0.4, 0.65)
        return np.minimum(1 - rho, rho - hole)
    if kind == "cross":
        width = rng.uniform(0.22, 0.36)
        a, b = np.abs(x), np.abs(y)
        return np.maximum(
            np.minimum(width - a, 1 - b), np.minimum(width - b, 1 - a)
        )
    theta = np.arctan2(y, x)
    if kind == "harmonic":
        first, second = rng.uniform(0.14, 0.28), rng.uniform(0.08, 0.18)
        a, b = rng.uniform(0, 2 * math.pi, 2)
        wave = first * np.sin(n * theta + a) + second * np.sin(
            contour.second * theta + b
        )
        return (1 + wave) / (1 + first + second) - rho
    if kind == "polygon":
        sector = 2 * math.pi / n
        local = np.mod(theta, sector) - sector / 2
        return math.cos(sector / 2) - rho * np.cos(local)
    if kind == "star":
        depth = rng.uniform(0.4, 0.6)
        # A triangle wave makes straight-ish edges and sharp tips.
        wave = np.abs(np.mod(theta * (n / (2 * math.pi)), 1.0) - 0.5) * 2
        return depth / (depth + (1 - depth) * (1 - wave)) - rho
    if kind == "petals":
        depth = rng.uniform(0.3, 0.5)
        wave = np.abs(np.cos(0.5 * n * theta))
        return 1 - depth + depth * wave - rho
    if kind == "gear":
        wave = np.clip(4 * np.sin(n * theta), -1, 1)
        return 1 + rng.uniform(0.1, 0.18) * (wave - 1) - rho
    if kind == "drop":
        tip = 0.5 + 0.5 * np.cos(theta)
        return 0.45 + 0.55 * tip ** rng.uniform(4, 8) - rho
    raise ValueError(f"{kind=}: no such contour")


def draw_contour(rng: Rng, px: int, contour: Contour, fill: str) -> Figure:
    """One of the pictures of a class of contours."""
    x, y = pose(rng, px, scale=(0.45, 0.95))
    depth = inside(contour, rng, x, y)
    alpha = edge(depth, px)
    ramp = np.clip(depth, 0, 1)
    if fill == "outline":
        width = rng.uniform(0.05, 0.12)
        alpha = edge(width - np.abs(depth - width), px)
        height = 0.5 * np.maximum(width - np.abs(depth - width), 0)
        return Figure(alpha=alpha, value=0.5 + 0.3 * x, height=height)
    if fill == "nested":
        waves = rng.uniform(2.5, 4.5)
        value = 0.5 + 0.5 * np.cos(2 * math.pi * waves * depth)
        return Figure(alpha=alpha, value=value, height=0.05 * value)
    # A dome, a bevelled plate or a flat sheet.
    relief = rng.choice(3)
    height = (np.sqrt(ramp), np.minimum(ramp, 0.15), 0 * ramp)[relief]
    value = np.clip(rng.uniform(0.2, 0.8) + 0.4 * (ramp - 0.3), 0, 1)
    return Figure(alpha=alpha, value=value, height=0.6 * height)
