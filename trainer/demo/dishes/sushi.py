"""Sushi."""

from __future__ import annotations

import math

from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    FISH,
    GREENS,
    PALE,
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
)
from trainer.demo.tableware import board, chopsticks, plate


def sushi(canvas: Canvas, draws: Draws) -> None:
    """Rolls and slices on rice, in rows."""
    if draws.chance(0.5):
        board(canvas, draws, draws.uniform(2.6, 3.2))
    else:
        plate(canvas, draws, draws.uniform(1.25, 1.55), draws.chance(0.4))
    rows, columns = draws.pick(((1, 3), (2, 2), (2, 3), (2, 4), (3, 3)))
    kinds = draws.pick(((_roll,), (_nigiri,), (_roll, _nigiri)))
    gap = draws.uniform(0.5, 0.62)
    turn = draws.near(0, 0.25)
    row_kinds = [draws.pick(kinds) for _ in range(rows)]
    fish = one_of(draws, FISH + PALE[3:])
    filling = one_of(draws, GREENS) if draws.chance(0.25) else fish
    for row, paint in enumerate(row_kinds):
        for column in range(columns):
            x = (column - (columns - 1) / 2) * gap + draws.near(0, 0.05)
            y = (row - (rows - 1) / 2) * gap * 1.2 + draws.near(0, 0.05)
            inside = filling if paint is _roll else fish
            paint(canvas, draws, x, y, turn, inside)
    if draws.chance(0.5):
        x = draws.sign() * draws.uniform(0.9, 1.1)
        y = draws.near(0, 0.5)
        paste = blob(draws, x, y, 0.14, 0.11, 0.2)
        canvas.solid(paste, one_of(draws, GREENS[3:]), 0.1)
        ginger = blob(draws, x, y + 0.35, 0.2, 0.14, 0.4)
        canvas.solid(ginger, varied(draws, (244, 196, 176)), 0.05)
    if draws.chance(0.4):
        chopsticks(canvas, draws)


def _roll(
    canvas: Canvas,
    draws: Draws,
    x: float,
    y: float,
    turn: float,
    filling: Colour,
) -> None:
    """Standing on end: seaweed, rice and a filling, or rice outside."""
    r = 0.24
    weed = varied(draws, (34, 46, 38), 0.2)
    rice = one_of(draws, PALE[:3], 0.06)
    if draws.chance(0.8):
        canvas.solid(disc(x, y, r), weed, 0.3, gloss=0)
        canvas.fill(disc(x, y, r * 0.82), rice, height=0.3)
    else:
        canvas.solid(disc(x, y, r), rice, 0.3, gloss=0)
        canvas.fill(disc(x, y, r * 0.55), weed, height=0.3)
    for _ in range(6):
        u, v = draws.in_disc(r * 0.7)
        grain = ellipse(x + u, y + v, 0.04, 0.02, draws.angle(), 6)
        canvas.fill(grain, scaled(rice, 0.88), height=0.3)
    middle = blob(draws, x, y, r * 0.42, r * 0.36, 0.2, 0, 10)
    canvas.fill(middle, varied(draws, filling), height=0.3)


def _nigiri(
    canvas: Canvas,
    draws: Draws,
    x: float,
    y: float,
    turn: float,
    filling: Colour,
) -> None:
    """A slice of fish or egg with pale stripes on a pad of rice."""
    angle = math.tau / 4 + turn
    rice = one_of(draws, PALE[:3], 0.06)
    canvas.solid(capsule(x, y, 0.62, 0.3, angle), rice, 0.16, gloss=0)
    fish = varied(draws, filling)
    top: Outline = capsule(x, y, 0.66, 0.3, angle)
    canvas.solid(top, fish, 0.08, height=0.16, gloss=0.1)
    for i in range(-2, 3):
        u = x + 0.12 * i * math.cos(angle)
        v = y + 0.12 * i * math.sin(angle)
        stripe = capsule(u, v, 0.26, 0.03, angle + 1.0)
        canvas.fill(
            stripe, mixed(fish, PALE[2], 0.55), height=0.24, opacity=0.8
        )
    if draws.chance(0.2):
        band = box(x, y, 0.12, 0.34, angle)
        canvas.fill(band, (34, 44, 38), height=0.24)
