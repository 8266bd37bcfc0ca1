"""Hamburgers."""

from __future__ import annotations

import math

from trainer.demo import garnish, tableware
from trainer.demo.colours import BROWNS, CRUSTS, GREENS, PALE, REDS, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import box, capsule, ellipse, ribbon, rounded, wave


def hamburger(art: Painter) -> None:
    """Paints a stack between two buns, seen from the side."""
    bun = art.one_of(CRUSTS)
    width = art.uniform(1.5, 1.9)
    tableware.saucer(art)
    if art.chance(0.35):
        garnish.fries(art, art.sign() * 1.1, 0.55)
    y = 0.62
    foot = rounded(0, y, width * 0.92, 0.36, 0.15)
    art.shadow(foot, 0.12)
    art.fill(foot, bun)
    art.fill(box(0, y - 0.12, width * 0.86, 0.1), bun.mixed(PALE[0], 0.5))
    y -= 0.2
    layers = art.shuffled((_lettuce, _tomato_layer, _cheese, _onion_layer))
    layers = [_patty, *layers[: art.whole(1, 3)]]
    if art.chance(0.5):
        layers = layers[1:] + layers[:1]
    if art.chance(0.3):
        layers += [_patty, _cheese]
    for paint in layers:
        y = paint(art, y, width * art.uniform(0.95, 1.08))
    _crown(art, y, width, bun)


def _crown(art: Painter, y: float, width: float, bun: Colour) -> None:
    high = art.uniform(0.5, 0.75)
    half = width / 2
    steps = [math.pi + math.pi * i / 14 for i in range(15)]
    dome = []
    for t in steps:
        x = half * math.copysign(abs(math.cos(t)) ** 0.8, math.cos(t))
        dome.append((x, y - 0.05 + high * math.sin(t)))
    dome += [(half * 0.97, y + 0.06), (-half * 0.97, y + 0.06)]
    art.fill(dome, bun.scaled(0.9))
    lx = 0.08 * art.light[0]
    shine = [(0.75 * u + lx, 0.75 * (v - y) + y - 0.08) for u, v in dome]
    art.fill(shine, bun.mixed((255, 236, 200), 0.25), opacity=0.7)
    if art.chance(0.75):
        for u, v in art.scatter(art.whole(12, 26), 1):
            x, h = u * half * 0.75, (0.55 + 0.35 * v) * high
            if (x / half) ** 2 + (h / high) ** 2 < 0.9:
                seed = ellipse(x, y - h, 0.045, 0.025, art.angle(), 6)
                art.fill(seed, PALE[1])
    if art.chance(0.15):
        art.fill(box(0, y - high - 0.1, 0.03, 0.5), (200, 170, 120))


def _patty(art: Painter, y: float, width: float) -> float:
    colour = art.one_of(BROWNS)
    art.fill(rounded(0, y - 0.12, width, 0.28, 0.12), colour)
    for _ in range(12):
        x = width * art.uniform(-0.45, 0.45)
        v = y - 0.12 + art.near(0, 0.1)
        r = art.uniform(0.03, 0.07)
        shade = colour.scaled(art.pick((0.6, 1.3)))
        art.fill(art.blob(x, v, r, r * 0.6, 0.3, 0, 7), shade)
    return y - 0.25


def _lettuce(art: Painter, y: float, width: float) -> float:
    colour = art.one_of(GREENS)
    half = width * 0.54
    frill = wave((-half, y), (half, y), 0.06, art.uniform(4, 7), art.angle())
    art.fill(ribbon(frill, 0.16), colour)
    art.fill(ribbon(frill, 0.05), colour.mixed((255, 255, 200), 0.35))
    return y - 0.08


def _tomato_layer(art: Painter, y: float, width: float) -> float:
    colour = art.one_of(REDS)
    for side in (-1, 1):
        piece = capsule(side * width * 0.23, y - 0.04, width * 0.46, 0.13)
        art.fill(piece, colour)
    return y - 0.1


def _onion_layer(art: Painter, y: float, width: float) -> float:
    colour = PALE[2].mixed((170, 80, 130), art.uniform(0, 0.5))
    for i in range(-2, 3):
        piece = capsule(i * width * 0.17, y - 0.02, width * 0.2, 0.08)
        art.fill(piece, art.varied(colour, 0.1))
    return y - 0.06


def _cheese(art: Painter, y: float, width: float) -> float:
    colour = art.varied(art.pick(((244, 186, 60), (246, 222, 140))))
    half = width * 0.5
    art.fill(box(0, y - 0.02, 2 * half, 0.08), colour)
    for _ in range(art.whole(1, 3)):
        x = art.uniform(-0.7, 0.7) * half
        w = art.uniform(0.15, 0.3)
        drip = [(x - w, y), (x + w, y), (x, y + art.uniform(0.12, 0.28))]
        art.fill(drip, colour)
    return y - 0.06
