"""Chicken curry."""

from __future__ import annotations

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    GLAZES,
    GREENS,
    PALE,
    REDS,
    SAUCES,
    Colour,
    mixed,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import blob, disc
from trainer.demo.tableware import bowl, plate


def chicken_curry(canvas: Canvas, draws: Draws) -> None:
    """Chunks in thick sauce, often with rice beside."""
    sauce = one_of(draws, SAUCES)
    if draws.chance(0.6):
        bowl(canvas, draws)
        canvas.fill(disc(0, 0, 0.95, 30), sauce)
        rice_share = 0.35
    else:
        plate(canvas, draws, draws.uniform(1.2, 1.4))
        pool = blob(draws, 0, 0, 0.92, 0.85, 0.1)
        canvas.fill(pool, scaled(sauce, 0.7))
        canvas.fill(pool, sauce, height=0.04)
        rice_share = 0.7
    for _ in range(24):
        x, y = draws.in_disc(0.82)
        r = draws.uniform(0.03, 0.14)
        spot = blob(draws, x, y, r, r, 0.3, 0, 10)
        shade = scaled(sauce, draws.pick((0.75, 0.85, 1.2, 1.3)))
        canvas.fill(spot, shade, opacity=0.5)
    middle = 0.0
    if draws.chance(rice_share):
        middle = 0.35
        _rice_side(canvas, draws)
    _chunks(canvas, draws, sauce, middle)
    if draws.chance(0.35):
        cream = garnish.drizzle(draws, 0.45)
        canvas.fill(cream, one_of(draws, PALE), opacity=0.85, height=0.1)
    if draws.chance(0.6):
        garnish.herbs(canvas, draws, draws.whole(6, 24), 0.75)
    for _ in range(draws.whole(0, 3)):
        x, y = draws.in_disc(0.5)
        garnish.leaf(canvas, draws, x, y, draws.uniform(0.12, 0.25))


def _rice_side(canvas: Canvas, draws: Draws) -> None:
    """White rice in one half."""
    rice = one_of(draws, PALE)
    heap = blob(draws, -0.5, 0, 0.45, 0.7, 0.1)
    canvas.solid(heap, scaled(rice, 0.8), 0.12, gloss=0)
    garnish.grains(canvas, draws, (-0.5, 0), (0.42, 0.66), 90, rice)


def _chunks(canvas: Canvas, draws: Draws, sauce: Colour, middle: float) -> None:
    """Pieces of meat, coated with the sauce, and bits of vegetable."""
    meat = mixed(sauce, one_of(draws, GLAZES + PALE), draws.uniform(0.3, 0.7))
    for _ in range(draws.whole(5, 10)):
        x, y = draws.in_disc(0.62)
        x = middle + x * (1 - middle)
        r = draws.uniform(0.14, 0.27)
        piece = blob(draws, x, y, r, r * 0.75, 0.3, draws.angle(), 12)
        canvas.solid(piece, varied(draws, meat), 0.15, gloss=0.35)
    if draws.chance(0.5):
        kind = one_of(draws, REDS + GREENS + PALE[3:])
        for _ in range(draws.whole(3, 7)):
            x, y = draws.in_disc(0.7)
            strip = blob(draws, x, y, 0.16, 0.05, 0.2, draws.angle(), 10)
            canvas.solid(strip, varied(draws, kind), 0.05, gloss=0)
