"""Ramen."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.colours import BROTHS, GREENS, PALE, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import box, disc, ellipse, polar, ribbon, turned, wave
from trainer.demo.tableware import bowl, chopsticks


def ramen(art: Painter) -> None:
    """Paints noodles in broth, with egg, seaweed, meat and spring onion."""
    bowl(art, art.uniform(1.05, 1.2))
    broth = art.one_of(BROTHS)
    art.fill(disc(0, 0, 0.95, 30), broth)
    for x, y in art.scatter(10, 0.85):
        r = art.uniform(0.02, 0.1)
        art.fill(disc(x, y, r, 10), broth.scaled(1.2), opacity=0.6)
    noodle = art.varied(art.pick(((236, 206, 140), (226, 186, 110))))
    for _ in range(art.whole(1, 3)):
        _noodles(art, noodle)
    toppings = art.shuffled((_egg, _seaweed, _pork, _fishcake, _onions))
    start = art.angle()
    for i, paint in enumerate(toppings[: art.whole(2, 5)]):
        turn = start + i * 1.3 + art.near(0, 0.3)
        paint(art, *polar(0, 0, art.uniform(0.4, 0.65), turn))
    if art.chance(0.5):
        garnish.herbs(art, art.whole(5, 25), 0.7)
    if art.chance(0.35):
        chopsticks(art)


def _noodles(art: Painter, colour: Colour) -> None:
    """Paints a bundle of noodles."""
    angle = art.angle()
    periods = art.uniform(1.5, 3.5)
    phase = art.angle()
    wiggle = art.uniform(0.05, 0.1)
    width = art.uniform(0.035, 0.06)
    for i in range(art.whole(9, 15)):
        d = (i - 6) * 0.1 + art.near(0, 0.04)
        half = math.sqrt(max(0.05, 0.72 - d * d)) * art.uniform(0.75, 1)
        start, stop = turned([(-half, d), (half, d)], 0, 0, angle)
        path = wave(start, stop, wiggle, periods, phase + art.near(0, 0.5))
        art.fill(ribbon(path, width * 1.7), colour.scaled(0.55), opacity=0.7)
        art.fill(ribbon(path, width), art.varied(colour, 0.1))


def _egg(art: Painter, x: float, y: float) -> None:
    angle = art.angle()
    for i in range(art.whole(1, 2)):
        u = x + 0.25 * i
        white = ellipse(u, y, 0.32, 0.25, angle)
        art.solid(white, art.one_of(PALE[2:3]), 0.08, gloss=0)
        yolk = art.pick(((240, 170, 50), (226, 130, 30), (244, 200, 90)))
        art.fill(ellipse(u, y, 0.17, 0.15, angle), yolk, height=0.08)


def _seaweed(art: Painter, x: float, y: float) -> None:
    angle = math.atan2(y, x) + art.near(0, 0.4)
    sheet = box(x * 1.5, y * 1.5, 0.65, 0.5, angle)
    art.solid(sheet, art.varied((30, 44, 34)), 0.08, gloss=0.1)


def _pork(art: Painter, x: float, y: float) -> None:
    colour = art.varied((196, 140, 108))
    for i in range(art.whole(1, 3)):
        u, v = x * (1 - 0.3 * i), y * (1 - 0.3 * i) + 0.1 * i
        art.solid(disc(u, v, 0.32), colour.scaled(0.75), 0.06, gloss=0)
        art.fill(art.blob(u, v, 0.28, 0.26), colour, height=0.06)
        swirl = wave((u - 0.2, v), (u + 0.2, v), 0.1, 1, art.angle())
        art.fill(ribbon(swirl, 0.05), (238, 214, 190), height=0.06)


def _fishcake(art: Painter, x: float, y: float) -> None:
    points = []
    for i in range(32):
        t = 2 * math.pi * i / 32
        r = 0.2 + 0.025 * math.cos(8 * t)
        points.append(polar(x, y, r, t))
    art.solid(points, (244, 240, 236), 0.05, gloss=0)
    swirl = wave((x - 0.11, y), (x + 0.11, y), 0.07, 1, art.angle())
    art.fill(ribbon(swirl, 0.05), (226, 110, 140), height=0.05)


def _onions(art: Painter, x: float, y: float) -> None:
    for u, v in art.scatter(art.whole(8, 18), 0.3):
        green = art.one_of(GREENS)
        garnish.ring(art, x + u, y + v, 0.06, green, green.mixed(PALE[0], 0.7))
