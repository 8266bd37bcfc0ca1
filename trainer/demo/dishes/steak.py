"""Steak."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    GLAZES,
    PALE,
    REDS,
    Colour,
    mixed,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import (
    Outline,
    blob,
    capsule,
    disc,
    shrunk,
    turned,
)
from trainer.demo.tableware import dish


def steak(canvas: Canvas, draws: Draws) -> None:
    """A slab with grill marks and a rim of fat, whole or sliced."""
    dish(canvas, draws)
    garnish.sides(canvas, draws)
    crust = one_of(draws, BROWNS + GLAZES[2:4])
    if draws.chance(0.4):
        _slices(canvas, draws, crust)
    else:
        _slab(canvas, draws, crust)
    if draws.chance(0.25):
        x, y = draws.in_disc(0.2)
        butter = capsule(x, y, 0.3, 0.2, draws.angle())
        canvas.solid(butter, (246, 224, 140), 0.08, height=0.15)
    if draws.chance(0.3):
        garnish.sprig(canvas, draws, *draws.in_disc(0.4))
    elif draws.chance(0.3):
        garnish.herbs(canvas, draws, draws.whole(5, 20), 0.5)


def _slab(canvas: Canvas, draws: Draws, crust: Colour) -> None:
    angle = draws.angle()
    rx, ry = draws.uniform(0.75, 1.0), draws.uniform(0.5, 0.68)
    outline = blob(draws, 0, 0, rx, ry, 0.2, angle, 22)
    if draws.chance(0.75):
        fat = one_of(draws, PALE)
        side = draws.angle()
        rim = [
            (u + 0.1 * math.cos(side), v + 0.1 * math.sin(side))
            for u, v in outline
        ]
        canvas.solid(rim, mixed(fat, crust, 0.25), 0.15, gloss=0)
    canvas.solid(outline, crust, 0.2, gloss=0.12)
    inner = shrunk(outline, 0.9)
    for _ in range(18):
        u, v = draws.in_disc(0.85)
        (x, y) = turned([(u * rx, v * ry)], 0, 0, angle)[0]
        r = draws.uniform(0.03, 0.12)
        shade = scaled(crust, draws.pick((0.7, 0.8, 1.25)))
        spot = blob(draws, x, y, r, r * 0.6, 0.4, angle, 8)
        canvas.fill(spot, shade, height=0.2, opacity=0.5)
    if draws.chance(0.75):
        turn = draws.angle()
        _bars(canvas, inner, scaled(crust, 0.4), turn)
        if draws.chance(0.5):
            _bars(canvas, inner, scaled(crust, 0.45), turn + 1.2)
    if draws.chance(0.25):
        bone = [(-0.5, -0.06), (0.3, -0.06), (0.3, -0.3), (0.42, -0.3)]
        bone += [(0.42, 0.3), (0.3, 0.3), (0.3, 0.06), (-0.5, 0.06)]
        canvas.fill(turned(bone, 0, 0, angle), one_of(draws, PALE), height=0.2)


def _bars(
    canvas: Canvas, outline: Outline, colour: Colour, angle: float
) -> None:
    """Parallel grill marks, as far as the outline reaches."""
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
            canvas.fill(
                turned(bar, 0, 0, angle), colour, height=0.2, opacity=0.8
            )
        v += 0.2


def _slices(canvas: Canvas, draws: Draws, crust: Colour) -> None:
    """A fan of slices, pink inside and brown around."""
    pink = mixed(one_of(draws, REDS), PALE[1], draws.uniform(0.15, 0.45))
    pink = mixed(pink, crust, draws.uniform(0, 0.3))
    crust = scaled(crust, 0.85)
    angle = draws.angle()
    count = draws.whole(4, 8)
    fan = draws.near(0, 0.12)
    for i in range(count):
        d = (i - (count - 1) / 2) * 0.24
        x, y = turned([(d, draws.near(0, 0.05))], 0, 0, angle)[0]
        turn = angle + math.pi / 2 + fan * (i - count / 2)
        length = 1.05 - 0.5 * abs(d) + draws.near(0, 0.1)
        piece = blob(draws, x, y, length / 2, 0.15, 0.1, turn, 16)
        canvas.solid(piece, crust, 0.2, gloss=0)
        inside = blob(draws, x, y, length / 2.25, 0.11, 0.12, turn, 14)
        canvas.fill(inside, varied(draws, pink), height=0.2)
        core = disc(x, y, 0.05, 8)
        canvas.fill(core, scaled(pink, 0.85), height=0.2, opacity=0.6)
