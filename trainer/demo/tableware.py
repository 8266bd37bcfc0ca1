"""Tables, and what food is served on and eaten with."""

from __future__ import annotations

import math

from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    CHINA,
    TABLES,
    Colour,
    mixed,
    one_of,
    scaled,
    varied,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import (
    blob,
    box,
    capsule,
    disc,
    ellipse,
    ribbon,
    rounded,
    wave,
)


def table(canvas: Canvas, draws: Draws) -> None:
    """Covers the whole picture: one colour, planks, checks or stone."""
    colour = one_of(draws, TABLES)
    canvas.fill(box(0, 0, 8, 8), colour)
    kind = draws.whole(0, 4)
    if kind == 0:
        _planks(canvas, draws, colour)
    elif kind == 1:
        other = one_of(draws, TABLES)
        step = draws.uniform(0.12, 0.4)
        for i in range(-8, 9):
            canvas.fill(box(i * step * 2, 0, step, 6), other, opacity=0.5)
            canvas.fill(box(0, i * step * 2, 6, step), other, opacity=0.5)
    elif kind == 2:
        for _ in range(40):
            x, y = draws.in_disc(1.8)
            r = draws.uniform(0.02, 0.25)
            spot = blob(draws, x, y, r, r * 0.6, 0.5)
            canvas.fill(spot, varied(draws, colour, 0.4), opacity=0.4)
    elif kind == 3:
        far = one_of(draws, TABLES)
        edge = draws.uniform(-0.6, 0.3)
        canvas.fill(box(0, edge - 4, 8, 8), far)


def _planks(canvas: Canvas, draws: Draws, colour: Colour) -> None:
    width = draws.uniform(0.25, 0.7)
    y = -2.0
    while y < 2.0:
        plank = varied(draws, colour, 0.2)
        canvas.fill(box(0, y, 6, width), plank)
        canvas.fill(box(0, y - width / 2, 6, 0.02), scaled(colour, 0.5))
        for _ in range(3):
            level = y + width * draws.uniform(-0.4, 0.4)
            grain = wave((-3, level), (3, level), 0.03, 2, draws.angle())
            canvas.fill(ribbon(grain, 0.015), scaled(plank, 0.75), opacity=0.6)
        y += width


def plate(
    canvas: Canvas, draws: Draws, radius: float = 1.3, square: bool = False
) -> None:
    """A plate with a rim around the dish's middle."""
    colour = one_of(draws, CHINA)

    def outline(r: float) -> list[tuple[float, float]]:
        if square:
            return rounded(0, 0, 1.9 * r, 1.7 * r, 0.25 * r)
        return disc(0, 0, r, 32)

    canvas.shadow(outline(radius), 0.1)
    canvas.fill(outline(radius), scaled(colour, 0.82))
    canvas.fill(outline(radius * 0.97), colour, height=0.03)
    if draws.chance(0.35):
        canvas.fill(outline(radius * 0.9), one_of(draws, CHINA), height=0.03)
        canvas.fill(outline(radius * 0.85), colour, height=0.03)
    canvas.fill(outline(radius * 0.75), scaled(colour, 0.88))
    canvas.fill(outline(radius * 0.73), mixed(colour, (255, 255, 255), 0.15))


def board(canvas: Canvas, draws: Draws, length: float = 2.9) -> None:
    """A board of wood or slate."""
    colour = one_of(draws, TABLES[:5], 0.2)
    height = length * draws.uniform(0.55, 0.9)
    outline = rounded(0, 0, length, height, 0.12)
    canvas.shadow(outline, 0.12)
    canvas.fill(outline, scaled(colour, 0.65), down=0.05)
    canvas.fill(outline, colour)
    for _ in range(7):
        y = height * draws.uniform(-0.46, 0.46)
        grain = wave(
            (-length / 2.1, y), (length / 2.1, y), 0.02, 2, draws.angle()
        )
        canvas.fill(ribbon(grain, 0.02), scaled(colour, 0.8), opacity=0.6)


def paper(canvas: Canvas, draws: Draws) -> None:
    """A sheet of greaseproof paper, plain or checked."""
    colour = one_of(draws, CHINA[:2])
    angle = draws.angle()
    canvas.shadow(box(0, 0, 2.5, 2.2, angle), 0.04)
    canvas.fill(box(0, 0, 2.5, 2.2, angle), colour)
    if draws.chance(0.5):
        other = one_of(draws, TABLES)
        for i in range(6):
            strip = box(0, 0, 0.16, 2.2)
            c, s = math.cos(angle), math.sin(angle)
            d = -1.1 + 0.44 * i
            moved = [(d + x, y) for x, y in strip]
            spun = [(c * x - s * y, s * x + c * y) for x, y in moved]
            canvas.fill(spun, other, opacity=0.5)


def dish(canvas: Canvas, draws: Draws) -> None:
    """Something flat to serve on."""
    kind = draws.whole(0, 5)
    if kind <= 2:
        plate(canvas, draws, draws.uniform(1.15, 1.5))
    elif kind == 3:
        plate(canvas, draws, draws.uniform(1.2, 1.5), square=True)
    elif kind == 4:
        board(canvas, draws, draws.uniform(2.5, 3.2))
    else:
        paper(canvas, draws)


def bowl(canvas: Canvas, draws: Draws, radius: float = 1.1) -> None:
    """A bowl, empty as yet; what is in it has a radius of about 1."""
    outside, inside = one_of(draws, CHINA), one_of(draws, CHINA)
    canvas.shadow(disc(0, 0, radius, 32), 0.3)
    for i in range(6):
        r = radius * (0.6 + 0.08 * i)
        canvas.fill(
            disc(0, 0, r, 28),
            scaled(outside, 0.6 + 0.05 * i),
            height=-0.5 + 0.1 * i,
        )
    canvas.fill(disc(0, 0, radius, 32), outside, height=0.1)
    canvas.fill(disc(0, 0, radius * 0.94, 32), inside, height=0.1)
    canvas.fill(
        disc(0, 0, radius * 0.94, 32),
        (0, 0, 0),
        opacity=0.2,
        height=0.1,
    )
    canvas.fill(disc(0, 0, radius * 0.91, 32), inside, height=0.06)


def chopsticks(canvas: Canvas, draws: Draws) -> None:
    """A pair, side by side."""
    colour = one_of(draws, TABLES, 0.2)
    x, y = draws.in_disc(0.9)
    angle = draws.angle()
    for i in (-1, 1):
        gap = 0.06 * i
        stick = capsule(
            x - gap * math.sin(angle),
            y + gap * math.cos(angle),
            2.6,
            0.06,
            angle + 0.03 * i,
        )
        canvas.solid(stick, colour, 0.05, height=0.15, gloss=0)


def cutlery(canvas: Canvas, draws: Draws) -> None:
    """A fork, a knife or a spoon beside the dish."""
    steel = varied(draws, (190, 194, 200), 0.25)
    side = draws.sign() * draws.uniform(1.4, 1.7)
    canvas.solid(capsule(side, 0.3, 1.5, 0.09, 1.5708), steel, 0.03)
    kind = draws.whole(0, 2)
    if kind == 0:
        canvas.solid(capsule(side, -0.75, 0.9, 0.2, 1.5708), steel, 0.03)
    elif kind == 1:
        canvas.solid(disc(side, -0.7, 0.22), steel, 0.05)
    else:
        canvas.solid(box(side, -0.5, 0.26, 0.2), steel, 0.03, gloss=0)
        for i in (-1, 0, 1):
            tine = box(side + 0.1 * i, -0.8, 0.05, 0.5)
            canvas.fill(tine, steel)


def glass(canvas: Canvas, draws: Draws) -> None:
    """A glass or cup seen from above, at the edge of the dish."""
    turn = draws.angle()
    distance = draws.uniform(1.5, 1.9)
    x, y = distance * math.cos(turn), distance * math.sin(turn)
    r = draws.uniform(0.35, 0.55)
    colour = one_of(draws, CHINA)
    canvas.shadow(disc(x, y, r), 0.4)
    canvas.fill(disc(x, y, r * 0.8), scaled(colour, 0.8))
    canvas.fill(disc(x, y, r), colour, height=0.6, opacity=0.8)
    drink = one_of(draws, TABLES)
    canvas.fill(disc(x, y, r * 0.85), drink, height=0.55)
    canvas.fill(disc(x - 0.1, y, r * 0.2), (255, 255, 255), height=0.55)


def napkin(canvas: Canvas, draws: Draws) -> None:
    """A folded cloth under or beside the dish."""
    colour = one_of(draws, TABLES)
    x, y = draws.in_disc(1.6)
    angle = draws.angle()
    canvas.shadow(box(x, y, 1.5, 1.2, angle), 0.04)
    canvas.fill(box(x, y, 1.5, 1.2, angle), colour)
    canvas.fill(box(x, y, 0.75, 1.2, angle), scaled(colour, 0.85))


def saucer(canvas: Canvas, draws: Draws) -> None:
    """A plate seen from the side, under what stands on it."""
    colour = one_of(draws, CHINA)
    y = 0.82
    shape = ellipse(0, y, draws.uniform(1.3, 1.8), 0.2, 0, 30)
    canvas.shadow(shape, 0.1)
    canvas.fill(shape, scaled(colour, 0.7), down=0.05)
    canvas.fill(shape, colour)
