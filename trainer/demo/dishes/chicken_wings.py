"""Chicken wings."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.colours import BROWNS, GLAZES, PALE, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import Outline, capsule, ellipse, ribbon, turned
from trainer.demo.tableware import dish


def chicken_wings(art: Painter) -> None:
    """Paints a heap of glazed drumettes and flats."""
    dish(art)
    if art.chance(0.35):
        garnish.stalks(art, 0.8 * art.sign(), art.near(0, 0.4))
    if art.chance(0.35):
        garnish.dip(art, 0.8 * art.sign(), -0.5)
    if art.chance(0.25):
        garnish.salad(art, 0, 0.4)
    glaze = art.one_of(GLAZES + BROWNS)
    count = art.whole(3, 9)
    spread = 0.25 + 0.055 * count
    spots = sorted(
        (art.in_disc(spread) for _ in range(count)), key=lambda at: at[1]
    )
    for i, (x, y) in enumerate(spots):
        paint = _drumette if art.chance(0.55) else _flat
        lift = 0.2 * (1 - math.hypot(x, y) / (spread + 0.01)) * (i > 2)
        paint(art, x, y, lift, art.varied(glaze, 0.2))
    if art.chance(0.4):
        garnish.herbs(art, art.whole(6, 20), 0.6)
    if art.chance(0.3):
        for x, y in art.scatter(30, 0.55):
            seed = ellipse(x, y, 0.03, 0.018, art.angle(), 5)
            art.fill(seed, PALE[0], height=0.25)


def _drumette(
    art: Painter, x: float, y: float, lift: float, skin: Colour
) -> None:
    """Paints a drumette: thick at one end, a bone at the other."""
    angle = art.angle()
    k = art.uniform(0.85, 1.15)
    meat = [(-0.42, 0.03), (-0.4, -0.15), (-0.22, -0.25), (0.0, -0.2)]
    meat += [(0.2, -0.09), (0.38, -0.06), (0.38, 0.06), (0.2, 0.1)]
    meat += [(0.0, 0.2), (-0.22, 0.24), (-0.38, 0.16)]
    bone = turned(capsule(0.44 * k, 0, 0.22, 0.08), x, y, angle)
    art.solid(bone, art.one_of(PALE), 0.08, height=lift)
    _crisp(art, turned(meat, x, y, angle, k), lift, skin)


def _flat(art: Painter, x: float, y: float, lift: float, skin: Colour) -> None:
    """Paints a flat: bent, even, with a groove between its two bones."""
    angle = art.angle()
    k = art.uniform(0.8, 1.1)
    bend = art.uniform(0.1, 0.22) * art.sign()
    path = [(0.16 * k * i, bend * (1 - (i / 3) ** 2)) for i in range(-3, 4)]
    outline = turned(ribbon(path, 0.26 * k), x, y, angle)
    _crisp(art, outline, lift, skin)
    groove = turned(ribbon(path[1:-1], 0.04), x, y, angle)
    art.fill(groove, skin.scaled(0.65), height=lift + 0.15)


def _crisp(art: Painter, outline: Outline, lift: float, skin: Colour) -> None:
    """Paints crisp skin: brown spots and small bright reflections."""
    art.solid(outline, skin, 0.15, height=lift, gloss=0.3)
    x = sum(u for u, _ in outline) / len(outline)
    y = sum(v for _, v in outline) / len(outline)
    top = lift + 0.15
    for u, v in art.scatter(5, 0.17):
        r = art.uniform(0.03, 0.08)
        spot = art.blob(x + u, y + v, r, r, 0.4, 0, 8)
        art.fill(spot, skin.scaled(0.55), height=top, opacity=0.6)
    for u, v in art.scatter(2, 0.14):
        spark = ellipse(x + u, y + v, 0.05, 0.02, art.angle(), 8)
        art.fill(spark, (255, 240, 215), height=top, opacity=0.7)
