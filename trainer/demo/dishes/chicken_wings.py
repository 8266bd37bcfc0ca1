"""Chicken wings."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    GLAZES,
    PALE,
    Colour,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import (
    Outline,
    blob,
    capsule,
    ellipse,
    ribbon,
    turned,
)
from trainer.demo.tableware import dish


def chicken_wings(canvas: Canvas, draws: Draws) -> None:
    """A heap of glazed drumettes and flats."""
    dish(canvas, draws)
    if draws.chance(0.35):
        garnish.stalks(canvas, draws, 0.8 * draws.sign(), draws.near(0, 0.4))
    if draws.chance(0.35):
        garnish.dip(canvas, draws, 0.8 * draws.sign(), -0.5)
    if draws.chance(0.25):
        garnish.salad(canvas, draws, 0, 0.4)
    glaze = one_of(draws, GLAZES + BROWNS)
    count = draws.whole(3, 9)
    spread = 0.25 + 0.055 * count
    spots = sorted((draws.in_disc(spread) for _ in range(count)), key=_lower)
    for i, (x, y) in enumerate(spots):
        paint = _drumette if draws.chance(0.55) else _flat
        lift = 0.2 * (1 - math.hypot(x, y) / (spread + 0.01)) * (i > 2)
        paint(canvas, draws, x, y, lift, varied(draws, glaze, 0.2))
    if draws.chance(0.4):
        garnish.herbs(canvas, draws, draws.whole(6, 20), 0.6)
    if draws.chance(0.3):
        for _ in range(30):
            x, y = draws.in_disc(0.55)
            seed = ellipse(x, y, 0.03, 0.018, draws.angle(), 5)
            canvas.fill(seed, PALE[0], height=0.25)


def _lower(point: tuple[float, float]) -> float:
    return point[1]


def _drumette(
    canvas: Canvas, draws: Draws, x: float, y: float, lift: float, skin: Colour
) -> None:
    """Thick at one end, a bone at the other."""
    angle = draws.angle()
    k = draws.uniform(0.85, 1.15)
    meat = [
        (-0.42, 0.03),
        (-0.4, -0.15),
        (-0.22, -0.25),
        (0.0, -0.2),
        (0.2, -0.09),
        (0.38, -0.06),
        (0.38, 0.06),
        (0.2, 0.1),
        (0.0, 0.2),
        (-0.22, 0.24),
        (-0.38, 0.16),
    ]
    scaled_meat = [(k * u, k * v) for u, v in meat]
    bone = turned(capsule(0.44 * k, 0, 0.22, 0.08), x, y, angle)
    canvas.solid(bone, one_of(draws, PALE), 0.08, height=lift)
    outline = turned(scaled_meat, x, y, angle)
    _crisp(canvas, draws, outline, lift, skin)


def _flat(
    canvas: Canvas, draws: Draws, x: float, y: float, lift: float, skin: Colour
) -> None:
    """Bent, as thick all along, with a groove between two bones."""
    angle = draws.angle()
    k = draws.uniform(0.8, 1.1)
    bend = draws.uniform(0.1, 0.22) * draws.sign()
    path = [(0.16 * k * i, bend * (1 - (i / 3) ** 2)) for i in range(-3, 4)]
    outline = turned(ribbon(path, 0.26 * k), x, y, angle)
    _crisp(canvas, draws, outline, lift, skin)
    groove = turned(ribbon(path[1:-1], 0.04), x, y, angle)
    canvas.fill(groove, scaled(skin, 0.65), height=lift + 0.15)


def _crisp(
    canvas: Canvas, draws: Draws, outline: Outline, lift: float, skin: Colour
) -> None:
    """Skin: browner in spots, with small bright reflections."""
    canvas.solid(outline, skin, 0.15, height=lift, gloss=0.3)
    xs = [p[0] for p in outline]
    ys = [p[1] for p in outline]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    top = lift + 0.15
    for _ in range(5):
        u, v = draws.in_disc(0.17)
        r = draws.uniform(0.03, 0.08)
        spot = blob(draws, x + u, y + v, r, r, 0.4, 0, 8)
        canvas.fill(spot, scaled(skin, 0.55), height=top, opacity=0.6)
    for _ in range(2):
        u, v = draws.in_disc(0.14)
        spark = ellipse(x + u, y + v, 0.05, 0.02, draws.angle(), 8)
        canvas.fill(spark, (255, 240, 215), height=top, opacity=0.7)
