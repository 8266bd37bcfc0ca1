"""Fried rice."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    GLAZES,
    GREENS,
    PALE,
    mixed,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import blob, box, disc, ribbon
from trainer.demo.tableware import bowl, chopsticks, dish


def fried_rice(canvas: Canvas, draws: Draws) -> None:
    """A heap of grains with bits of egg, carrot, peas and spring onion."""
    if draws.chance(0.4):
        bowl(canvas, draws)
        rx = ry = draws.uniform(0.85, 0.95)
    else:
        dish(canvas, draws)
        rx, ry = draws.uniform(0.65, 1.05), draws.uniform(0.6, 0.85)
    rice = mixed(
        one_of(draws, PALE), one_of(draws, GLAZES), draws.near(0.3, 0.3)
    )
    heap = blob(draws, 0, 0, rx, ry, 0.12)
    canvas.solid(heap, scaled(rice, 0.72), 0.15, gloss=0)
    garnish.grains(canvas, draws, (0, 0), (rx, ry), 190, rice)
    bits = draws.shuffled((_egg_bit, _carrot, _pea, _onion_bit, _meat_bit))
    for paint in bits[: draws.whole(2, 5)]:
        for _ in range(draws.whole(4, 14)):
            u, v = draws.in_disc(0.9)
            paint(canvas, draws, u * rx, v * ry)
    garnish.grains(canvas, draws, (0, 0), (rx * 0.9, ry * 0.9), 60, rice)
    if draws.chance(0.25):
        _prawns(canvas, draws)
    if draws.chance(0.3):
        garnish.leaf(canvas, draws, 0, 0, 0.3)
    if draws.chance(0.2):
        chopsticks(canvas, draws)


def _egg_bit(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    r = draws.uniform(0.06, 0.14)
    canvas.fill(blob(draws, x, y, r, r, 0.5), varied(draws, (240, 204, 90)))


def _carrot(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    cube = box(x, y, 0.1, 0.1, draws.angle())
    canvas.solid(cube, varied(draws, (228, 120, 40)), 0.04, gloss=0)


def _pea(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    canvas.solid(disc(x, y, 0.06, 10), one_of(draws, GREENS), 0.05)


def _onion_bit(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    green = one_of(draws, GREENS)
    garnish.ring(canvas, x, y, 0.06, green, mixed(green, PALE[0], 0.6))


def _meat_bit(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    cube = blob(draws, x, y, 0.09, 0.07, 0.2, draws.angle(), 8)
    canvas.solid(cube, one_of(draws, BROWNS), 0.05, gloss=0)


def _prawns(canvas: Canvas, draws: Draws) -> None:
    colour = varied(draws, (236, 150, 110))
    for _ in range(draws.whole(2, 4)):
        x, y = draws.in_disc(0.5)
        start = draws.angle()
        arc = [
            (
                x + 0.17 * math.cos(start + 0.6 * i),
                y + 0.17 * math.sin(start + 0.6 * i),
            )
            for i in range(7)
        ]
        canvas.solid(ribbon(arc, 0.12), colour, 0.06, gloss=0)
        for u, v in arc[1:-1]:
            canvas.fill(disc(u, v, 0.03, 6), mixed(colour, PALE[2], 0.6))
