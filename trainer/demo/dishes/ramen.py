"""Ramen."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROTHS,
    GREENS,
    PALE,
    Colour,
    mixed,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import blob, box, disc, ellipse, ribbon, wave
from trainer.demo.tableware import bowl, chopsticks


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
