"""Small things on and beside many dishes."""

from __future__ import annotations

import math

from trainer.demo.colours import GREENS, PALE, REDS, RGB, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import (
    Point,
    box,
    capsule,
    disc,
    ellipse,
    polar,
    turned,
    wedge,
)


def leaf(art: Painter, x: float, y: float, size: float) -> None:
    """Paints a leaf with a rib."""
    colour = art.one_of(GREENS)
    angle = art.angle()
    outline = [(-1.0, 0.0), (-0.4, -0.4), (0.4, -0.35), (1.0, 0.0)]
    outline += [(0.4, 0.35), (-0.4, 0.4)]
    outline = turned(outline, x, y, angle, size)
    art.shadow(outline, 0.03)
    art.fill(outline, colour)
    rib = capsule(x, y, 1.6 * size, 0.1 * size, angle)
    art.fill(rib, colour.mixed((255, 255, 200), 0.4))


def herbs(art: Painter, count: int, radius: float) -> None:
    """Scatters chopped herbs."""
    for x, y in art.scatter(count, radius):
        size = art.uniform(0.03, 0.07)
        bit = ellipse(x, y, size, size * 0.6, art.angle(), 6)
        art.fill(bit, art.one_of(GREENS))


def sprig(art: Painter, x: float, y: float) -> None:
    """Paints a twig with needles or small leaves."""
    colour = art.one_of(GREENS)
    angle = art.angle()
    art.fill(capsule(x, y, 0.9, 0.03, angle), colour.scaled(0.7))
    for i in range(9):
        d = -0.45 + 0.1 * i
        for side in (-1, 1):
            foot = polar(x, y, d, angle)
            art.fill(capsule(*foot, 0.3, 0.04, angle + side * 0.8), colour)


def ring(
    art: Painter, x: float, y: float, radius: float, colour: RGB, hole: RGB
) -> None:
    """Paints a ring, such as a slice of onion or olive."""
    art.fill(disc(x, y, radius, 10), colour)
    art.fill(disc(x, y, radius * 0.5, 8), hole)


def lemon(art: Painter, x: float, y: float) -> None:
    """Paints a slice or a wedge of lemon or lime."""
    peel = art.varied(art.pick(((236, 204, 60), (140, 180, 60))))
    flesh = peel.mixed((255, 255, 230), 0.5)
    r = art.uniform(0.25, 0.38)
    half = art.chance(0.5)
    start = art.angle()
    stop = start + (math.pi if half else 2 * math.pi)
    art.solid(wedge(x, y, r, start, stop), peel, 0.08, gloss=0)
    art.fill(wedge(x, y, r * 0.88, start, stop), (250, 246, 225))
    count = 4 if half else 8
    step = (stop - start) / count
    for i in range(count):
        a = start + step * i
        art.fill(wedge(x, y, r * 0.8, a + 0.08, a + step - 0.08), flesh)


def tomato(art: Painter, x: float, y: float) -> None:
    """Paints a cherry tomato, whole or halved."""
    colour = art.one_of(REDS)
    r = art.uniform(0.14, 0.22)
    art.solid(disc(x, y, r), colour, 0.12)
    if art.chance(0.5):
        art.fill(disc(x, y, r * 0.75), colour.mixed((255, 200, 150), 0.4))


def fries(art: Painter, x: float, y: float) -> None:
    """Paints a heap of fries."""
    colour = art.varied((230, 186, 90))
    for u, v in art.scatter(art.whole(8, 14), 0.4):
        stick = box(x + u, y + v, art.uniform(0.4, 0.7), 0.09, art.angle())
        art.solid(stick, art.varied(colour), 0.07, gloss=0)


def salad(art: Painter, x: float, y: float) -> None:
    """Paints a few leaves and perhaps a tomato."""
    for u, v in art.scatter(art.whole(4, 8), 0.3):
        leaf(art, x + u, y + v, art.uniform(0.15, 0.35))
    if art.chance(0.4):
        tomato(art, x, y)


def stalks(art: Painter, x: float, y: float) -> None:
    """Paints asparagus, beans or celery, side by side."""
    colour = art.one_of(GREENS)
    angle = art.angle()
    for i in range(art.whole(3, 6)):
        d = 0.13 * (i - 2)
        u, v = x - d * math.sin(angle), y + d * math.cos(angle)
        length, turn = art.uniform(0.8, 1.2), angle + art.near(0, 0.1)
        art.solid(capsule(u, v, length, 0.1, turn), art.varied(colour), 0.07)


def dip(art: Painter, x: float, y: float) -> None:
    """Paints a small cup of sauce."""
    r = art.uniform(0.25, 0.38)
    art.solid(disc(x, y, r), art.one_of(PALE), 0.15, gloss=0)
    art.fill(disc(x, y, r * 0.82), art.one_of(PALE + REDS), height=0.12)


def grains(
    art: Painter, centre: Point, radii: Point, count: int, colour: Colour
) -> None:
    """Covers an elliptic heap with grains of rice of similar colour."""
    (x, y), (rx, ry) = centre, radii
    shades = [art.varied(colour, 0.18) for _ in range(8)]
    for u, v in art.scatter(count, 1):
        u, v = x + u * rx, y + v * ry
        art.fill(ellipse(u, v, 0.065, 0.026, art.angle(), 6), art.pick(shades))


def crumbs(art: Painter) -> None:
    """Paints crumbs on the table."""
    colour = art.one_of(PALE + GREENS + REDS)
    for x, y in art.scatter(art.whole(5, 20), 1.9):
        art.fill(disc(x, y, art.uniform(0.01, 0.05), 5), colour)


def sides(art: Painter) -> None:
    """Paints up to two side dishes of meat or fish."""
    for _ in range(art.whole(0, 2)):
        turn = art.angle()
        x, y = polar(0, 0, art.uniform(0.65, 0.95), turn)
        paint = art.pick((fries, salad, stalks, lemon, tomato, dip, sprig))
        paint(art, x, y)
