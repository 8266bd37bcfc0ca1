"""Grilled salmon."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.colours import FISH, GLAZES, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import Outline, ribbon, turned
from trainer.demo.tableware import dish


def grilled_salmon(art: Painter) -> None:
    """Paints one or two fillets with pale curved lines of muscle."""
    dish(art)
    garnish.sides(art)
    flesh = art.one_of(FISH)
    flesh = flesh.mixed(art.one_of(GLAZES), art.uniform(0, 0.6))
    angle = art.angle()
    if art.chance(0.3):
        c, s = 0.36 * math.sin(angle), 0.36 * math.cos(angle)
        _fillet(art, c, -s, angle, 0.75, flesh)
        _fillet(art, -c, s, angle + art.near(0, 0.4), 0.75, flesh)
    else:
        _fillet(art, *art.in_disc(0.2), angle, art.uniform(0.85, 1.15), flesh)
    if art.chance(0.5):
        garnish.herbs(art, art.whole(4, 20), 0.5)
    x, y = art.in_disc(0.5)
    if art.chance(0.35):
        garnish.lemon(art, x, y)
    elif art.chance(0.3):
        garnish.sprig(art, x, y)


def _fillet(
    art: Painter, x: float, y: float, angle: float, size: float, flesh: Colour
) -> None:
    """Paints a fillet: thinner at one end, with chevrons across it."""
    blunt, tail = art.uniform(0.3, 0.38), art.uniform(0.12, 0.28)

    def half(u: float) -> float:
        ends = min(1.0, 6 * (u + 0.85), 5 * (0.85 - u))
        width = blunt + (tail - blunt) * (u + 0.85) / 1.7
        return width * math.sqrt(max(0.05, ends))

    steps = [-0.85 + 0.17 * i for i in range(11)]
    shape = [(u, -half(u)) for u in steps]
    shape += [(u, half(u)) for u in reversed(steps)]

    def put(points: Outline) -> Outline:
        return turned(points, x, y, angle, size)

    outline = put(shape)
    if art.chance(0.6):
        art.fill(outline, art.varied((120, 120, 116), 0.3), down=0.09)
    art.solid(outline, flesh, 0.16, gloss=0.15)
    pale = flesh.mixed((255, 236, 220), art.uniform(0.4, 0.7))
    lean = art.sign() * art.uniform(0.1, 0.22)
    gap = art.uniform(0.12, 0.2)
    u = -0.75
    while u < 0.75:
        h = half(u) * 0.95
        path = [(u + lean, -h), (u + lean / 4, -h / 2), (u, 0.0)]
        path += [(u + lean / 4, h / 2), (u + lean, h)]
        inside = [p for p in path if abs(p[1]) <= half(p[0])]
        if len(inside) > 2:
            art.fill(put(ribbon(inside, 0.03)), pale, height=0.16)
        u += gap
    if not art.chance(0.7):
        return
    char = flesh.scaled(art.uniform(0.35, 0.6))
    if art.chance(0.5):
        # Bars of the grill.
        for i in range(art.whole(2, 4)):
            u = -0.5 + 0.33 * i
            h = half(u) * 0.85
            bar = ribbon([(u - 0.1, -h), (u, 0.0), (u + 0.1, h)], 0.06)
            art.fill(put(bar), char, height=0.16, opacity=0.7)
        return
    # A burnt edge.
    for _ in range(12):
        u = art.uniform(-0.75, 0.75)
        v = art.sign() * half(u) * art.uniform(0.7, 0.95)
        r = art.uniform(0.04, 0.1)
        spot = put(art.blob(u, v, r, r * 0.6, 0.4, 0, 8))
        art.fill(spot, char, height=0.16, opacity=0.55)
