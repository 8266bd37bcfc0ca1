"""Tables, plates, bowls and cutlery."""

from __future__ import annotations

import math

from trainer.demo.colours import CHINA, TABLES, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import (
    Outline,
    box,
    capsule,
    disc,
    ellipse,
    polar,
    ribbon,
    rounded,
    turned,
    wave,
)


def table(art: Painter) -> None:
    """Paints a table over the image: plain, planks, checks or stone."""
    colour = art.one_of(TABLES)
    art.fill(box(0, 0, 8, 8), colour)
    kind = art.whole(0, 4)
    if kind == 0:
        _planks(art, colour)
    elif kind == 1:
        other = art.one_of(TABLES)
        step = art.uniform(0.12, 0.4)
        for i in range(-8, 9):
            art.fill(box(i * step * 2, 0, step, 6), other, opacity=0.5)
            art.fill(box(0, i * step * 2, 6, step), other, opacity=0.5)
    elif kind == 2:
        for x, y in art.scatter(40, 1.8):
            r = art.uniform(0.02, 0.25)
            spot = art.blob(x, y, r, r * 0.6, 0.5)
            art.fill(spot, art.varied(colour, 0.4), opacity=0.4)
    elif kind == 3:
        far = art.one_of(TABLES)
        art.fill(box(0, art.uniform(-0.6, 0.3) - 4, 8, 8), far)


def _planks(art: Painter, colour: Colour) -> None:
    width = art.uniform(0.25, 0.7)
    y = -2.0
    while y < 2.0:
        plank = art.varied(colour, 0.2)
        art.fill(box(0, y, 6, width), plank)
        art.fill(box(0, y - width / 2, 6, 0.02), colour.scaled(0.5))
        for _ in range(3):
            level = y + width * art.uniform(-0.4, 0.4)
            grain = wave((-3, level), (3, level), 0.03, 2, art.angle())
            art.fill(ribbon(grain, 0.015), plank.scaled(0.75), opacity=0.6)
        y += width


def plate(art: Painter, radius: float = 1.3, square: bool = False) -> None:
    """Paints a plate with a rim, centred under the dish."""
    colour = art.one_of(CHINA)

    def outline(r: float) -> Outline:
        if square:
            return rounded(0, 0, 1.9 * r, 1.7 * r, 0.25 * r)
        return disc(0, 0, r, 32)

    art.shadow(outline(radius), 0.1)
    art.fill(outline(radius), colour.scaled(0.82))
    art.fill(outline(radius * 0.97), colour, height=0.03)
    if art.chance(0.35):
        art.fill(outline(radius * 0.9), art.one_of(CHINA), height=0.03)
        art.fill(outline(radius * 0.85), colour, height=0.03)
    art.fill(outline(radius * 0.75), colour.scaled(0.88))
    art.fill(outline(radius * 0.73), colour.mixed((255, 255, 255), 0.15))


def board(art: Painter, length: float = 2.9) -> None:
    """Paints a board of wood or slate."""
    colour = art.one_of(TABLES[:5], 0.2)
    height = length * art.uniform(0.55, 0.9)
    outline = rounded(0, 0, length, height, 0.12)
    art.shadow(outline, 0.12)
    art.fill(outline, colour.scaled(0.65), down=0.05)
    art.fill(outline, colour)
    for _ in range(7):
        y = height * art.uniform(-0.46, 0.46)
        end = length / 2.1
        grain = wave((-end, y), (end, y), 0.02, 2, art.angle())
        art.fill(ribbon(grain, 0.02), colour.scaled(0.8), opacity=0.6)


def paper(art: Painter) -> None:
    """Paints a sheet of greaseproof paper, plain or checked."""
    colour = art.one_of(CHINA[:2])
    angle = art.angle()
    sheet = box(0, 0, 2.5, 2.2, angle)
    art.shadow(sheet, 0.04)
    art.fill(sheet, colour)
    if art.chance(0.5):
        other = art.one_of(TABLES)
        for i in range(6):
            strip = turned(box(-1.1 + 0.44 * i, 0, 0.16, 2.2), 0, 0, angle)
            art.fill(strip, other, opacity=0.5)


def dish(art: Painter) -> None:
    """Paints a plate, a board or a sheet of paper."""
    kind = art.whole(0, 5)
    if kind <= 3:
        plate(art, art.uniform(1.15 if kind < 3 else 1.2, 1.5), kind == 3)
    elif kind == 4:
        board(art, art.uniform(2.5, 3.2))
    else:
        paper(art)


def bowl(art: Painter, radius: float = 1.1) -> None:
    """Paints an empty bowl; its content has a radius of about 1."""
    outside, inside = art.one_of(CHINA), art.one_of(CHINA)
    rim, opening = disc(0, 0, radius, 32), disc(0, 0, radius * 0.94, 32)
    art.shadow(rim, 0.3)
    for i in range(6):
        ring = disc(0, 0, radius * (0.6 + 0.08 * i), 28)
        shade = outside.scaled(0.6 + 0.05 * i)
        art.fill(ring, shade, height=-0.5 + 0.1 * i)
    art.fill(rim, outside, height=0.1)
    art.fill(opening, inside, height=0.1)
    art.fill(opening, (0, 0, 0), opacity=0.2, height=0.1)
    art.fill(disc(0, 0, radius * 0.91, 32), inside, height=0.06)


def chopsticks(art: Painter) -> None:
    """Paints a pair of chopsticks."""
    colour = art.one_of(TABLES, 0.2)
    x, y = art.in_disc(0.9)
    angle = art.angle()
    for i in (-1, 1):
        gap = 0.06 * i
        u, v = x - gap * math.sin(angle), y + gap * math.cos(angle)
        stick = capsule(u, v, 2.6, 0.06, angle + 0.03 * i)
        art.solid(stick, colour, 0.05, height=0.15, gloss=0)


def cutlery(art: Painter) -> None:
    """Paints a fork, a knife or a spoon beside the dish."""
    steel = art.varied((190, 194, 200), 0.25)
    side = art.sign() * art.uniform(1.4, 1.7)
    art.solid(capsule(side, 0.3, 1.5, 0.09, 1.5708), steel, 0.03)
    kind = art.whole(0, 2)
    if kind == 0:
        art.solid(capsule(side, -0.75, 0.9, 0.2, 1.5708), steel, 0.03)
    elif kind == 1:
        art.solid(disc(side, -0.7, 0.22), steel, 0.05)
    else:
        art.solid(box(side, -0.5, 0.26, 0.2), steel, 0.03, gloss=0)
        for i in (-1, 0, 1):
            art.fill(box(side + 0.1 * i, -0.8, 0.05, 0.5), steel)


def glass(art: Painter) -> None:
    """Paints a glass or cup seen from above, at the edge of the dish."""
    turn = art.angle()
    x, y = polar(0, 0, art.uniform(1.5, 1.9), turn)
    r = art.uniform(0.35, 0.55)
    colour = art.one_of(CHINA)
    art.shadow(disc(x, y, r), 0.4)
    art.fill(disc(x, y, r * 0.8), colour.scaled(0.8))
    art.fill(disc(x, y, r), colour, height=0.6, opacity=0.8)
    art.fill(disc(x, y, r * 0.85), art.one_of(TABLES), height=0.55)
    art.fill(disc(x - 0.1, y, r * 0.2), (255, 255, 255), height=0.55)


def napkin(art: Painter) -> None:
    """Paints a folded napkin under or beside the dish."""
    colour = art.one_of(TABLES)
    x, y = art.in_disc(1.6)
    angle = art.angle()
    cloth = box(x, y, 1.5, 1.2, angle)
    art.shadow(cloth, 0.04)
    art.fill(cloth, colour)
    art.fill(box(x, y, 0.75, 1.2, angle), colour.scaled(0.85))


def saucer(art: Painter) -> None:
    """Paints a plate under the dish, seen from the side."""
    colour = art.one_of(CHINA)
    shape = ellipse(0, 0.82, art.uniform(1.3, 1.8), 0.2, 0, 30)
    art.shadow(shape, 0.1)
    art.fill(shape, colour.scaled(0.7), down=0.05)
    art.fill(shape, colour)
