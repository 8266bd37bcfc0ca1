"""Grilled salmon."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    FISH,
    GLAZES,
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
    ribbon,
    turned,
)
from trainer.demo.tableware import dish


def grilled_salmon(canvas: Canvas, draws: Draws) -> None:
    """One or two fillets whose muscle shows as pale curved lines."""
    dish(canvas, draws)
    garnish.sides(canvas, draws)
    flesh = one_of(draws, FISH)
    flesh = mixed(flesh, one_of(draws, GLAZES), draws.uniform(0, 0.6))
    angle = draws.angle()
    if draws.chance(0.3):
        c, s = 0.36 * math.sin(angle), 0.36 * math.cos(angle)
        _fillet(canvas, draws, c, -s, angle, 0.75, flesh)
        _fillet(canvas, draws, -c, s, angle + draws.near(0, 0.4), 0.75, flesh)
    else:
        x, y = draws.in_disc(0.2)
        _fillet(canvas, draws, x, y, angle, draws.uniform(0.85, 1.15), flesh)
    if draws.chance(0.5):
        garnish.herbs(canvas, draws, draws.whole(4, 20), 0.5)
    x, y = draws.in_disc(0.5)
    if draws.chance(0.35):
        garnish.lemon(canvas, draws, x, y)
    elif draws.chance(0.3):
        garnish.sprig(canvas, draws, x, y)


def _fillet(
    canvas: Canvas,
    draws: Draws,
    x: float,
    y: float,
    angle: float,
    size: float,
    flesh: Colour,
) -> None:
    """Long, thinner at one end; lines bent like chevrons across it."""
    blunt, tail = draws.uniform(0.3, 0.38), draws.uniform(0.12, 0.28)

    def half(u: float) -> float:
        ends = min(1.0, 6 * (u + 0.85), 5 * (0.85 - u))
        width = blunt + (tail - blunt) * (u + 0.85) / 1.7
        return width * math.sqrt(max(0.05, ends))

    steps = [-0.85 + 0.17 * i for i in range(11)]
    shape = [(u, -half(u)) for u in steps]
    shape += [(u, half(u)) for u in reversed(steps)]

    def put(points: Outline) -> Outline:
        return turned([(size * u, size * v) for u, v in points], x, y, angle)

    outline = put(shape)
    if draws.chance(0.6):
        skin = varied(draws, (120, 120, 116), 0.3)
        canvas.fill(outline, skin, down=0.09)
    canvas.solid(outline, flesh, 0.16, gloss=0.15)
    pale = mixed(flesh, (255, 236, 220), draws.uniform(0.4, 0.7))
    lean = draws.sign() * draws.uniform(0.1, 0.22)
    gap = draws.uniform(0.12, 0.2)
    u = -0.75
    while u < 0.75:
        h = half(u) * 0.95
        path = [(u + lean, -h), (u + lean / 4, -h / 2), (u, 0.0)]
        path += [(u + lean / 4, h / 2), (u + lean, h)]
        inside = [p for p in path if abs(p[1]) <= half(p[0])]
        if len(inside) > 2:
            canvas.fill(put(ribbon(inside, 0.03)), pale, height=0.16)
        u += gap
    if draws.chance(0.7):
        char = scaled(flesh, draws.uniform(0.35, 0.6))
        _sear(canvas, draws, put, half, char)


def _sear(
    canvas: Canvas,
    draws: Draws,
    put: Callable[[Outline], Outline],
    half: Callable[[float], float],
    char: Colour,
) -> None:
    """Burnt edge or bars of the grill."""
    if draws.chance(0.5):
        for i in range(draws.whole(2, 4)):
            u = -0.5 + 0.33 * i
            h = half(u) * 0.85
            bar = ribbon([(u - 0.1, -h), (u, 0.0), (u + 0.1, h)], 0.06)
            canvas.fill(put(bar), char, height=0.16, opacity=0.7)
        return
    for _ in range(12):
        u = draws.uniform(-0.75, 0.75)
        v = draws.sign() * half(u) * draws.uniform(0.7, 0.95)
        r = draws.uniform(0.04, 0.1)
        spot = put(blob(draws, u, v, r, r * 0.6, 0.4, 0, 8))
        canvas.fill(spot, char, height=0.16, opacity=0.55)
