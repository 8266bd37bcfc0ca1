"""Dishes that come in a bowl more often than not: ramen, rice and curry."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROTHS,
    BROWNS,
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
from trainer.demo.shapes import blob, box, disc, ellipse, ribbon, wave
from trainer.demo.tableware import bowl, chopsticks, dish, plate


def ramen(canvas: Canvas, draws: Draws) -> None:
    """Wavy noodles in broth, with egg, seaweed, meat and spring onion."""
    bowl(canvas, draws, draws.uniform(1.05, 1.2))
    broth = one_of(draws, BROTHS)
    canvas.fill(disc(0, 0, 0.95, 30), broth)
    for _ in range(10):
        x, y = draws.in_disc(0.85)
        r = draws.uniform(0.02, 0.1)
        canvas.fill(disc(x, y, r, 10), scaled(broth, 1.2), opacity=0.6)
    noodle = varied(draws, draws.pick(((236, 206, 140), (226, 186, 110))))
    for _ in range(draws.whole(1, 3)):
        _noodles(canvas, draws, noodle)
    toppings = draws.shuffled((_egg, _seaweed, _pork, _fishcake, _onions))
    start = draws.angle()
    for i, paint in enumerate(toppings[: draws.whole(2, 5)]):
        turn = start + i * 1.3 + draws.near(0, 0.3)
        r = draws.uniform(0.4, 0.65)
        paint(canvas, draws, r * math.cos(turn), r * math.sin(turn))
    if draws.chance(0.5):
        garnish.herbs(canvas, draws, draws.whole(5, 25), 0.7)
    if draws.chance(0.35):
        chopsticks(canvas, draws)


def _noodles(canvas: Canvas, draws: Draws, colour: Colour) -> None:
    """A skein of them."""
    angle = draws.angle()
    c, s = math.cos(angle), math.sin(angle)
    periods = draws.uniform(1.5, 3.5)
    phase = draws.angle()
    wiggle = draws.uniform(0.05, 0.1)
    width = draws.uniform(0.035, 0.06)
    for i in range(draws.whole(9, 15)):
        d = (i - 6) * 0.1 + draws.near(0, 0.04)
        half = math.sqrt(max(0.05, 0.72 - d * d)) * draws.uniform(0.75, 1)
        path = wave(
            (-half * c - d * s, -half * s + d * c),
            (half * c - d * s, half * s + d * c),
            wiggle,
            periods,
            phase + draws.near(0, 0.5),
        )
        canvas.fill(
            ribbon(path, width * 1.7), scaled(colour, 0.55), opacity=0.7
        )
        canvas.fill(ribbon(path, width), varied(draws, colour, 0.1))


def _egg(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    angle = draws.angle()
    for i in range(draws.whole(1, 2)):
        u = x + 0.25 * i
        white = ellipse(u, y, 0.32, 0.25, angle)
        canvas.solid(white, one_of(draws, PALE[2:3]), 0.08, gloss=0)
        yolk = draws.pick(((240, 170, 50), (226, 130, 30), (244, 200, 90)))
        canvas.fill(ellipse(u, y, 0.17, 0.15, angle), yolk, height=0.08)


def _seaweed(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    angle = math.atan2(y, x) + draws.near(0, 0.4)
    sheet = box(x * 1.5, y * 1.5, 0.65, 0.5, angle)
    canvas.solid(sheet, varied(draws, (30, 44, 34)), 0.08, gloss=0.1)


def _pork(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    colour = varied(draws, (196, 140, 108))
    for i in range(draws.whole(1, 3)):
        u, v = x * (1 - 0.3 * i), y * (1 - 0.3 * i) + 0.1 * i
        canvas.solid(disc(u, v, 0.32), scaled(colour, 0.75), 0.06, gloss=0)
        canvas.fill(blob(draws, u, v, 0.28, 0.26), colour, height=0.06)
        swirl = wave((u - 0.2, v), (u + 0.2, v), 0.1, 1, draws.angle())
        canvas.fill(ribbon(swirl, 0.05), (238, 214, 190), height=0.06)


def _fishcake(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    points = []
    for i in range(32):
        t = 2 * math.pi * i / 32
        r = 0.2 + 0.025 * math.cos(8 * t)
        points.append((x + r * math.cos(t), y + r * math.sin(t)))
    canvas.solid(points, (244, 240, 236), 0.05, gloss=0)
    swirl = wave((x - 0.11, y), (x + 0.11, y), 0.07, 1, draws.angle())
    canvas.fill(ribbon(swirl, 0.05), (226, 110, 140), height=0.05)


def _onions(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    for _ in range(draws.whole(8, 18)):
        u, v = draws.in_disc(0.3)
        green = one_of(draws, GREENS)
        garnish.ring(
            canvas, x + u, y + v, 0.06, green, mixed(green, PALE[0], 0.7)
        )


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
