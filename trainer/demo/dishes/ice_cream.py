"""Ice cream."""

from __future__ import annotations

import math

from trainer.demo import tableware
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    CHINA,
    CREAMS,
    CRUSTS,
    GREENS,
    PALE,
    REDS,
    Colour,
    mixed,
    one_of,
    scaled,
)
from trainer.demo.draws import Draws
from trainer.demo.shapes import (
    box,
    capsule,
    disc,
    ellipse,
    ribbon,
    rounded,
    wave,
)


def ice_cream(canvas: Canvas, draws: Draws) -> None:
    """Scoops in a cone or a cup, or a bar on a stick."""
    kind = draws.whole(0, 7)
    flavours = [one_of(draws, CREAMS) for _ in range(3)]
    count = draws.whole(1, 3)
    if kind == 0:
        _bar(canvas, draws, flavours)
        return
    if kind <= 4:
        _cone(canvas, draws)
        for i in range(count):
            r = 0.5 - 0.06 * i
            x = draws.near(0, 0.06)
            _scoop(canvas, draws, x, -0.05 - 0.52 * i, r, flavours[i])
        top = -0.05 - 0.52 * (count - 1) - 0.4
    else:
        spots = ((-0.38, -0.1), (0.38, -0.08), (0.0, -0.42))
        if draws.chance(0.4):
            tableware.saucer(canvas, draws)
        canvas.fill(ellipse(0, 0.12, 0.95, 0.25, 0, 26), one_of(draws, CHINA))
        for i, (x, y) in enumerate(spots[: count + 1]):
            _scoop(canvas, draws, x, y, 0.45, flavours[i])
        _cup(canvas, draws)
        top = -0.8 if count > 1 else -0.5
    _toppings(canvas, draws, top)


def _bar(canvas: Canvas, draws: Draws, flavours: list[Colour]) -> None:
    """On a stick, perhaps with a bite gone."""
    canvas.solid(capsule(0, 0.9, 0.7, 0.16, math.tau / 4), PALE[1], 0.04)
    outline = rounded(0, -0.15, 0.9, 1.6, 0.4)
    canvas.solid(outline, flavours[0], 0.1, gloss=0.2)
    if draws.chance(0.5):
        coat = rounded(0, -0.45, 0.9, 1.0, 0.4)
        canvas.fill(coat, one_of(draws, BROWNS + CREAMS))
    for side in (-1, 1):
        groove = capsule(0.2 * side, -0.15, 1.1, 0.06, math.tau / 4)
        canvas.fill(groove, (0, 0, 0), opacity=0.2)
    if draws.chance(0.4):
        inside = disc(0.4 * draws.sign(), -0.85, 0.25, 12)
        canvas.fill(inside, flavours[1])


def _cone(canvas: Canvas, draws: Draws) -> None:
    colour = one_of(draws, CRUSTS)
    wide = draws.uniform(0.4, 0.5)
    deep = draws.uniform(1.1, 1.5)
    canvas.shadow([(-wide, 0.1), (wide, 0.1), (0.0, deep)], 0.15)
    canvas.fill(
        [(-wide, 0.1), (wide, 0.1), (0.06, deep), (-0.06, deep)], colour
    )
    dark = scaled(colour, 0.65)
    for i in range(1, 7):
        # Lines that run parallel to the two edges.
        k = i / 7
        left = (-wide * (1 - k), 0.1 + (deep - 0.1) * k)
        right = (wide * (1 - k), 0.1 + (deep - 0.1) * k)
        on_rim = wide * (1 - 2 * k)
        canvas.fill(ribbon([left, (-on_rim, 0.1)], 0.03), dark)
        canvas.fill(ribbon([right, (on_rim, 0.1)], 0.03), dark)
    canvas.fill(box(0, 0.14, 2 * wide + 0.06, 0.1), scaled(colour, 1.1))


def _cup(canvas: Canvas, draws: Draws) -> None:
    """The front of a bowl, paper cup or glass, with or without a foot."""
    colour = one_of(draws, CHINA)
    deep = draws.uniform(0.55, 0.9)
    foot = draws.uniform(0.3, 0.75)
    front = [(-0.95, 0.12)]
    front += [
        (-0.95 * math.cos(t), 0.12 + 0.2 * math.sin(t))
        for t in (0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8)
    ]
    front += [(0.95, 0.12), (0.8, deep * 0.6), (foot, deep), (-foot, deep)]
    front.append((-0.8, deep * 0.6))
    canvas.fill(front, colour)
    stripe = [(0.4, 0.3), (0.7, 0.27), (foot * 0.8, deep), (foot * 0.5, deep)]
    canvas.fill(stripe, mixed(colour, (255, 255, 255), 0.5), opacity=0.6)
    if foot < 0.5:
        canvas.fill(box(0, deep + 0.15, 0.16, 0.35), colour)
        canvas.fill(ellipse(0, deep + 0.33, 0.5, 0.1), scaled(colour, 0.9))


def _scoop(
    canvas: Canvas, draws: Draws, x: float, y: float, r: float, colour: Colour
) -> None:
    """A ball with a ragged skirt."""
    for i in range(7):
        u = x + r * (-0.9 + 0.3 * i)
        skirt = disc(u, y + r * 0.55 + draws.near(0, 0.04), r * 0.26, 10)
        canvas.fill(skirt, scaled(colour, 0.82))
    ball = disc(x, y, r, 22)
    lx, ly = canvas.light
    canvas.fill(ball, scaled(colour, 0.86))
    for k, light in ((0.8, 0.95), (0.6, 1.03), (0.35, 1.1)):
        shift = 0.3 * r * (1 - k)
        spot = disc(x + lx * shift, y - abs(ly) * shift, r * k, 18)
        canvas.fill(spot, scaled(colour, light), opacity=0.7)
    for _ in range(5):
        v = y + r * draws.uniform(-0.6, 0.6)
        h = r * draws.uniform(0.3, 0.6)
        ridge = wave((x - h, v), (x + h, v), 0.03, 1.5, draws.angle())
        canvas.fill(ribbon(ridge, 0.025), scaled(colour, 0.78), opacity=0.6)
    if draws.chance(0.35):
        chip = one_of(draws, BROWNS + REDS)
        for _ in range(14):
            u, v = draws.in_disc(r * 0.85)
            canvas.fill(box(x + u, y + v, 0.07, 0.04, draws.angle()), chip)


def _toppings(canvas: Canvas, draws: Draws, top: float) -> None:
    if draws.chance(0.3):
        sauce = one_of(draws, BROWNS + REDS)
        canvas.fill(ellipse(0, top + 0.15, 0.36, 0.16), sauce)
        for i in range(-2, 3):
            drip = capsule(
                0.15 * i, top + 0.3, draws.uniform(0.2, 0.45), 0.1, math.tau / 4
            )
            canvas.fill(drip, sauce)
    if draws.chance(0.3):
        for _ in range(25):
            u, v = draws.in_disc(0.4)
            bit = capsule(u, top + 0.3 + v * 0.8, 0.08, 0.03, draws.angle())
            canvas.fill(bit, one_of(draws, REDS + GREENS + CREAMS))
    if draws.chance(0.3):
        canvas.solid(disc(0, top, 0.13), one_of(draws, REDS), 0.04, gloss=0.5)
    if draws.chance(0.25):
        wafer = box(draws.sign() * 0.35, top, 0.18, 0.8, draws.near(0, 0.5))
        canvas.fill(wafer, one_of(draws, CRUSTS))
