"""Small things on and beside many dishes."""

from __future__ import annotations

import math

from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    GREENS,
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
    box,
    capsule,
    disc,
    ellipse,
    ribbon,
    turned,
    wave,
    wedge,
)


def leaf(canvas: Canvas, draws: Draws, x: float, y: float, size: float) -> None:
    """A leaf with a rib."""
    colour = one_of(draws, GREENS)
    angle = draws.angle()
    outline = [
        (-size, 0.0),
        (-size * 0.4, -size * 0.4),
        (size * 0.4, -size * 0.35),
        (size, 0.0),
        (size * 0.4, size * 0.35),
        (-size * 0.4, size * 0.4),
    ]
    canvas.shadow(turned(outline, x, y, angle), 0.03)
    canvas.fill(turned(outline, x, y, angle), colour)
    rib = capsule(x, y, 1.6 * size, 0.1 * size, angle)
    canvas.fill(rib, mixed(colour, (255, 255, 200), 0.4))


def herbs(canvas: Canvas, draws: Draws, count: int, radius: float) -> None:
    """Chopped green, scattered."""
    for _ in range(count):
        x, y = draws.in_disc(radius)
        size = draws.uniform(0.03, 0.07)
        bit = ellipse(x, y, size, size * 0.6, draws.angle(), 6)
        canvas.fill(bit, one_of(draws, GREENS))


def sprig(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A twig with needles or small leaves."""
    colour = one_of(draws, GREENS)
    angle = draws.angle()
    canvas.fill(capsule(x, y, 0.9, 0.03, angle), scaled(colour, 0.7))
    for i in range(9):
        d = -0.45 + 0.1 * i
        for side in (-1, 1):
            needle = capsule(
                x + d * math.cos(angle),
                y + d * math.sin(angle),
                0.3,
                0.04,
                angle + side * 0.8,
            )
            canvas.fill(needle, colour)


def ring(
    canvas: Canvas,
    x: float,
    y: float,
    radius: float,
    colour: Colour,
    hole: Colour,
) -> None:
    """A slice of something hollow."""
    canvas.fill(disc(x, y, radius, 10), colour)
    canvas.fill(disc(x, y, radius * 0.5, 8), hole)


def lemon(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A slice or a wedge of lemon or lime."""
    peel = varied(draws, draws.pick(((236, 204, 60), (140, 180, 60))))
    flesh = mixed(peel, (255, 255, 230), 0.5)
    r = draws.uniform(0.25, 0.38)
    half = draws.chance(0.5)
    start = draws.angle()
    stop = start + (math.pi if half else 2 * math.pi)
    canvas.solid(wedge(x, y, r, start, stop), peel, 0.08, gloss=0)
    canvas.fill(wedge(x, y, r * 0.88, start, stop), (250, 246, 225))
    count = 4 if half else 8
    step = (stop - start) / count
    for i in range(count):
        a = start + step * i
        canvas.fill(wedge(x, y, r * 0.8, a + 0.08, a + step - 0.08), flesh)


def tomato(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A cherry tomato, whole or halved."""
    colour = one_of(draws, REDS)
    r = draws.uniform(0.14, 0.22)
    canvas.solid(disc(x, y, r), colour, 0.12)
    if draws.chance(0.5):
        canvas.fill(disc(x, y, r * 0.75), mixed(colour, (255, 200, 150), 0.4))


def fries(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A heap of sticks."""
    colour = varied(draws, (230, 186, 90))
    for _ in range(draws.whole(8, 14)):
        u, v = draws.in_disc(0.4)
        stick = box(x + u, y + v, draws.uniform(0.4, 0.7), 0.09, draws.angle())
        canvas.solid(stick, varied(draws, colour), 0.07, gloss=0)


def salad(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A few leaves and perhaps a tomato."""
    for _ in range(draws.whole(4, 8)):
        u, v = draws.in_disc(0.3)
        leaf(canvas, draws, x + u, y + v, draws.uniform(0.15, 0.35))
    if draws.chance(0.4):
        tomato(canvas, draws, x, y)


def stalks(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """Asparagus, beans or celery, side by side."""
    colour = one_of(draws, GREENS)
    angle = draws.angle()
    for i in range(draws.whole(3, 6)):
        d = 0.13 * (i - 2)
        stalk = capsule(
            x - d * math.sin(angle),
            y + d * math.cos(angle),
            draws.uniform(0.8, 1.2),
            0.1,
            angle + draws.near(0, 0.1),
        )
        canvas.solid(stalk, varied(draws, colour), 0.07)


def dip(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """A small cup of sauce."""
    r = draws.uniform(0.25, 0.38)
    canvas.solid(disc(x, y, r), one_of(draws, PALE), 0.15, gloss=0)
    canvas.fill(disc(x, y, r * 0.82), one_of(draws, PALE + REDS), height=0.12)


def grains(
    canvas: Canvas,
    draws: Draws,
    outline_at: tuple[float, float],
    radii: tuple[float, float],
    count: int,
    colour: Colour,
) -> None:
    """Rice: short grains all over an elliptic heap.

    Args:
      outline_at: the middle of the heap.
      radii: of the heap.
      count: of grains.
      colour: of the rice on the whole; the grains vary.
    """
    x, y = outline_at
    shades = [varied(draws, colour, 0.18) for _ in range(8)]
    for _ in range(count):
        u, v = draws.in_disc(1)
        grain = ellipse(
            x + u * radii[0],
            y + v * radii[1],
            0.065,
            0.026,
            draws.angle(),
            6,
        )
        canvas.fill(grain, draws.pick(shades))


def crumbs(canvas: Canvas, draws: Draws) -> None:
    """Specks on the table."""
    colour = one_of(draws, PALE + GREENS + REDS)
    for _ in range(draws.whole(5, 20)):
        x, y = draws.in_disc(1.9)
        canvas.fill(disc(x, y, draws.uniform(0.01, 0.05), 5), colour)


def side_dish(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    """Something that may lie beside meat or fish."""
    paint = draws.pick((fries, salad, stalks, lemon, tomato, dip, sprig))
    paint(canvas, draws, x, y)


def drizzle(draws: Draws, radius: float) -> Outline:
    """The outline of a thin line of sauce across a dish."""
    x, y = draws.in_disc(radius * 0.5)
    turn = draws.angle()
    dx, dy = radius * math.cos(turn), radius * math.sin(turn)
    path = wave((x - dx, y - dy), (x + dx, y + dy), 0.25, 2.5, draws.angle())
    return ribbon(path, draws.uniform(0.03, 0.08))


def puddle(
    canvas: Canvas, draws: Draws, x: float, y: float, size: float, paint: Colour
) -> None:
    """A flat patch of sauce."""
    outline = blob(draws, x, y, size, size * draws.uniform(0.6, 1), 0.3)
    canvas.fill(outline, paint)


def sides(canvas: Canvas, draws: Draws) -> None:
    """What lies beside a piece of meat or fish."""
    for _ in range(draws.whole(0, 2)):
        turn = draws.angle()
        r = draws.uniform(0.65, 0.95)
        side_dish(canvas, draws, r * math.cos(turn), r * math.sin(turn))
