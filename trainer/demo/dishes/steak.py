"""Steak."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.colours import BROWNS, GLAZES, PALE, REDS, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import Outline, capsule, disc, polar, shrunk, turned
from trainer.demo.tableware import dish


def steak(art: Painter) -> None:
    """Paints a slab with grill marks and a rim of fat, whole or sliced."""
    dish(art)
    garnish.sides(art)
    crust = art.one_of(BROWNS + GLAZES[2:4])
    if art.chance(0.4):
        _slices(art, crust)
    else:
        _slab(art, crust)
    if art.chance(0.25):
        butter = capsule(*art.in_disc(0.2), 0.3, 0.2, art.angle())
        art.solid(butter, (246, 224, 140), 0.08, height=0.15)
    if art.chance(0.3):
        garnish.sprig(art, *art.in_disc(0.4))
    elif art.chance(0.3):
        garnish.herbs(art, art.whole(5, 20), 0.5)


def _slab(art: Painter, crust: Colour) -> None:
    angle = art.angle()
    rx, ry = art.uniform(0.75, 1.0), art.uniform(0.5, 0.68)
    outline = art.blob(0, 0, rx, ry, 0.2, angle, 22)
    if art.chance(0.75):
        fat = art.one_of(PALE)
        side = art.angle()
        rim = [polar(u, v, 0.1, side) for u, v in outline]
        art.solid(rim, fat.mixed(crust, 0.25), 0.15, gloss=0)
    art.solid(outline, crust, 0.2, gloss=0.12)
    inner = shrunk(outline, 0.9)
    for u, v in art.scatter(18, 0.85):
        x, y = turned([(u * rx, v * ry)], 0, 0, angle)[0]
        r = art.uniform(0.03, 0.12)
        shade = crust.scaled(art.pick((0.7, 0.8, 1.25)))
        spot = art.blob(x, y, r, r * 0.6, 0.4, angle, 8)
        art.fill(spot, shade, height=0.2, opacity=0.5)
    if art.chance(0.75):
        turn = art.angle()
        _bars(art, inner, crust.scaled(0.4), turn)
        if art.chance(0.5):
            _bars(art, inner, crust.scaled(0.45), turn + 1.2)
    if art.chance(0.25):
        bone = [(-0.5, -0.06), (0.3, -0.06), (0.3, -0.3), (0.42, -0.3)]
        bone += [(0.42, 0.3), (0.3, 0.3), (0.3, 0.06), (-0.5, 0.06)]
        art.fill(turned(bone, 0, 0, angle), art.one_of(PALE), height=0.2)


def _bars(art: Painter, outline: Outline, colour: Colour, angle: float) -> None:
    """Paints parallel grill marks within the outline."""
    flat = turned(outline, 0, 0, -angle)
    top = min(v for _, v in flat)
    bottom = max(v for _, v in flat)
    v = top + 0.12
    while v < bottom - 0.08:
        cuts = []
        for (a, b), (c, d) in zip(flat, flat[1:] + flat[:1], strict=True):
            if (b < v) != (d < v):
                cuts.append(a + (c - a) * (v - b) / (d - b))
        if len(cuts) >= 2:
            left, right = min(cuts), max(cuts)
            bar = capsule((left + right) / 2, v, right - left, 0.06)
            art.fill(turned(bar, 0, 0, angle), colour, height=0.2, opacity=0.8)
        v += 0.2


def _slices(art: Painter, crust: Colour) -> None:
    """Paints a fan of slices, pink with a brown edge."""
    pink = art.one_of(REDS).mixed(PALE[1], art.uniform(0.15, 0.45))
    pink = pink.mixed(crust, art.uniform(0, 0.3))
    crust = crust.scaled(0.85)
    angle = art.angle()
    count = art.whole(4, 8)
    fan = art.near(0, 0.12)
    for i in range(count):
        d = (i - (count - 1) / 2) * 0.24
        x, y = turned([(d, art.near(0, 0.05))], 0, 0, angle)[0]
        turn = angle + math.pi / 2 + fan * (i - count / 2)
        length = 1.05 - 0.5 * abs(d) + art.near(0, 0.1)
        piece = art.blob(x, y, length / 2, 0.15, 0.1, turn, 16)
        art.solid(piece, crust, 0.2, gloss=0)
        inside = art.blob(x, y, length / 2.25, 0.11, 0.12, turn, 14)
        art.fill(inside, art.varied(pink), height=0.2)
        core = disc(x, y, 0.05, 8)
        art.fill(core, pink.scaled(0.85), height=0.2, opacity=0.6)
