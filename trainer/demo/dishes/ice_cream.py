"""Ice cream."""

from __future__ import annotations

import math

from trainer.demo import colours, tableware
from trainer.demo.colours import Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import (
    box,
    capsule,
    disc,
    ellipse,
    ribbon,
    rounded,
    wave,
)


def ice_cream(art: Painter) -> None:
    """Paints scoops in a cone or a cup, or a bar on a stick."""
    kind = art.whole(0, 7)
    flavours = [art.one_of(colours.CREAMS) for _ in range(3)]
    count = art.whole(1, 3)
    if kind == 0:
        _bar(art, flavours)
        return
    if kind <= 4:
        _cone(art)
        for i in range(count):
            x, y = art.near(0, 0.06), -0.05 - 0.52 * i
            _scoop(art, x, y, 0.5 - 0.06 * i, flavours[i])
        top = -0.05 - 0.52 * (count - 1) - 0.4
    else:
        spots = ((-0.38, -0.1), (0.38, -0.08), (0.0, -0.42))
        if art.chance(0.4):
            tableware.saucer(art)
        art.fill(ellipse(0, 0.12, 0.95, 0.25, 0, 26), art.one_of(colours.CHINA))
        for i, (x, y) in enumerate(spots[: count + 1]):
            _scoop(art, x, y, 0.45, flavours[i])
        _cup(art)
        top = -0.8 if count > 1 else -0.5
    _toppings(art, top)


def _bar(art: Painter, flavours: list[Colour]) -> None:
    """Paints a bar on a stick, sometimes with a bite missing."""
    art.solid(capsule(0, 0.9, 0.7, 0.16, math.tau / 4), colours.PALE[1], 0.04)
    art.solid(rounded(0, -0.15, 0.9, 1.6, 0.4), flavours[0], 0.1, gloss=0.2)
    if art.chance(0.5):
        art.fill(
            rounded(0, -0.45, 0.9, 1.0, 0.4),
            art.one_of(colours.BROWNS + colours.CREAMS),
        )
    for side in (-1, 1):
        groove = capsule(0.2 * side, -0.15, 1.1, 0.06, math.tau / 4)
        art.fill(groove, (0, 0, 0), opacity=0.2)
    if art.chance(0.4):
        art.fill(disc(0.4 * art.sign(), -0.85, 0.25, 12), flavours[1])


def _cone(art: Painter) -> None:
    colour = art.one_of(colours.CRUSTS)
    wide = art.uniform(0.4, 0.5)
    deep = art.uniform(1.1, 1.5)
    art.shadow([(-wide, 0.1), (wide, 0.1), (0.0, deep)], 0.15)
    art.fill([(-wide, 0.1), (wide, 0.1), (0.06, deep), (-0.06, deep)], colour)
    dark = colour.scaled(0.65)
    for i in range(1, 7):
        # Lines that run parallel to the two edges.
        k = i / 7
        left = (-wide * (1 - k), 0.1 + (deep - 0.1) * k)
        right = (wide * (1 - k), 0.1 + (deep - 0.1) * k)
        on_rim = wide * (1 - 2 * k)
        art.fill(ribbon([left, (-on_rim, 0.1)], 0.03), dark)
        art.fill(ribbon([right, (on_rim, 0.1)], 0.03), dark)
    art.fill(box(0, 0.14, 2 * wide + 0.06, 0.1), colour.scaled(1.1))


def _cup(art: Painter) -> None:
    """Paints a bowl, paper cup or glass, with or without a foot."""
    colour = art.one_of(colours.CHINA)
    deep = art.uniform(0.55, 0.9)
    foot = art.uniform(0.3, 0.75)
    front = [(-0.95, 0.12)]
    front += [
        (-0.95 * math.cos(t), 0.12 + 0.2 * math.sin(t))
        for t in (0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8)
    ]
    front += [(0.95, 0.12), (0.8, deep * 0.6), (foot, deep), (-foot, deep)]
    front.append((-0.8, deep * 0.6))
    art.fill(front, colour)
    stripe = [(0.4, 0.3), (0.7, 0.27), (foot * 0.8, deep), (foot * 0.5, deep)]
    art.fill(stripe, colour.mixed((255, 255, 255), 0.5), opacity=0.6)
    if foot < 0.5:
        art.fill(box(0, deep + 0.15, 0.16, 0.35), colour)
        art.fill(ellipse(0, deep + 0.33, 0.5, 0.1), colour.scaled(0.9))


def _scoop(art: Painter, x: float, y: float, r: float, colour: Colour) -> None:
    """Paints a scoop: a ball with a ragged edge at its base."""
    for i in range(7):
        u = x + r * (-0.9 + 0.3 * i)
        skirt = disc(u, y + r * 0.55 + art.near(0, 0.04), r * 0.26, 10)
        art.fill(skirt, colour.scaled(0.82))
    art.fill(disc(x, y, r, 22), colour.scaled(0.86))
    lx, ly = art.light
    for k, light in ((0.8, 0.95), (0.6, 1.03), (0.35, 1.1)):
        shift = 0.3 * r * (1 - k)
        spot = disc(x + lx * shift, y - abs(ly) * shift, r * k, 18)
        art.fill(spot, colour.scaled(light), opacity=0.7)
    for _ in range(5):
        v = y + r * art.uniform(-0.6, 0.6)
        h = r * art.uniform(0.3, 0.6)
        ridge = wave((x - h, v), (x + h, v), 0.03, 1.5, art.angle())
        art.fill(ribbon(ridge, 0.025), colour.scaled(0.78), opacity=0.6)
    if art.chance(0.35):
        chip = art.one_of(colours.BROWNS + colours.REDS)
        for u, v in art.scatter(14, r * 0.85):
            art.fill(box(x + u, y + v, 0.07, 0.04, art.angle()), chip)


def _toppings(art: Painter, top: float) -> None:
    if art.chance(0.3):
        sauce = art.one_of(colours.BROWNS + colours.REDS)
        art.fill(ellipse(0, top + 0.15, 0.36, 0.16), sauce)
        for i in range(-2, 3):
            length = art.uniform(0.2, 0.45)
            drip = capsule(0.15 * i, top + 0.3, length, 0.1, math.tau / 4)
            art.fill(drip, sauce)
    if art.chance(0.3):
        mix = colours.REDS + colours.GREENS + colours.CREAMS
        for u, v in art.scatter(25, 0.4):
            bit = capsule(u, top + 0.3 + v * 0.8, 0.08, 0.03, art.angle())
            art.fill(bit, art.one_of(mix))
    if art.chance(0.3):
        cherry = art.one_of(colours.REDS)
        art.solid(disc(0, top, 0.13), cherry, 0.04, gloss=0.5)
    if art.chance(0.25):
        wafer = box(art.sign() * 0.35, top, 0.18, 0.8, art.near(0, 0.5))
        art.fill(wafer, art.one_of(colours.CRUSTS))
