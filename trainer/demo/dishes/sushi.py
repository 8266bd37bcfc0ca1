"""Sushi."""

from __future__ import annotations

import math

from trainer.demo.colours import FISH, GREENS, PALE, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import box, capsule, disc, ellipse, polar
from trainer.demo.tableware import board, chopsticks, plate


def sushi(art: Painter) -> None:
    """Paints rows of rolls, and of slices on rice."""
    if art.chance(0.5):
        board(art, art.uniform(2.6, 3.2))
    else:
        plate(art, art.uniform(1.25, 1.55), art.chance(0.4))
    rows, columns = art.pick(((1, 3), (2, 2), (2, 3), (2, 4), (3, 3)))
    kinds = art.pick(((_roll,), (_nigiri,), (_roll, _nigiri)))
    gap = art.uniform(0.5, 0.62)
    turn = art.near(0, 0.25)
    row_kinds = [art.pick(kinds) for _ in range(rows)]
    fish = art.one_of(FISH + PALE[3:])
    filling = art.one_of(GREENS) if art.chance(0.25) else fish
    for row, paint in enumerate(row_kinds):
        for column in range(columns):
            x = (column - (columns - 1) / 2) * gap + art.near(0, 0.05)
            y = (row - (rows - 1) / 2) * gap * 1.2 + art.near(0, 0.05)
            paint(art, x, y, turn, filling if paint is _roll else fish)
    if art.chance(0.5):
        x, y = art.sign() * art.uniform(0.9, 1.1), art.near(0, 0.5)
        art.solid(art.blob(x, y, 0.14, 0.11, 0.2), art.one_of(GREENS[3:]), 0.1)
        ginger = art.blob(x, y + 0.35, 0.2, 0.14, 0.4)
        art.solid(ginger, art.varied((244, 196, 176)), 0.05)
    if art.chance(0.4):
        chopsticks(art)


def _roll(
    art: Painter, x: float, y: float, turn: float, filling: Colour
) -> None:
    """Paints an upright roll, with seaweed or rice outside."""
    r = 0.24
    weed = art.varied((34, 46, 38), 0.2)
    rice = art.one_of(PALE[:3], 0.06)
    outside, inside, share = weed, rice, 0.82
    if not art.chance(0.8):
        outside, inside, share = rice, weed, 0.55
    art.solid(disc(x, y, r), outside, 0.3, gloss=0)
    art.fill(disc(x, y, r * share), inside, height=0.3)
    for u, v in art.scatter(6, r * 0.7):
        grain = ellipse(x + u, y + v, 0.04, 0.02, art.angle(), 6)
        art.fill(grain, rice.scaled(0.88), height=0.3)
    middle = art.blob(x, y, r * 0.42, r * 0.36, 0.2, 0, 10)
    art.fill(middle, art.varied(filling), height=0.3)


def _nigiri(
    art: Painter, x: float, y: float, turn: float, filling: Colour
) -> None:
    """Paints a slice of fish or egg with pale stripes on a pad of rice."""
    angle = math.tau / 4 + turn
    rice = art.one_of(PALE[:3], 0.06)
    art.solid(capsule(x, y, 0.62, 0.3, angle), rice, 0.16, gloss=0)
    fish = art.varied(filling)
    art.solid(
        capsule(x, y, 0.66, 0.3, angle), fish, 0.08, height=0.16, gloss=0.1
    )
    for i in range(-2, 3):
        middle = polar(x, y, 0.12 * i, angle)
        stripe = capsule(*middle, 0.26, 0.03, angle + 1.0)
        art.fill(stripe, fish.mixed(PALE[2], 0.55), height=0.24, opacity=0.8)
    if art.chance(0.2):
        art.fill(box(x, y, 0.12, 0.34, angle), (34, 44, 38), height=0.24)
