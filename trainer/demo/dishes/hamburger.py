"""Hamburgers."""

from __future__ import annotations

import math

from trainer.demo import garnish, tableware
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    CRUSTS,
    GREENS,
    PALE,
    REDS,
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
    ellipse,
    ribbon,
    rounded,
    wave,
)


def hamburger(canvas: Canvas, draws: Draws) -> None:
    """A stack seen from the side, bun to bun."""
    bun = one_of(draws, CRUSTS)
    width = draws.uniform(1.5, 1.9)
    tableware.saucer(canvas, draws)
    if draws.chance(0.35):
        garnish.fries(canvas, draws, draws.sign() * 1.1, 0.55)
    y = 0.62
    foot = rounded(0, y, width * 0.92, 0.36, 0.15)
    canvas.shadow(foot, 0.12)
    canvas.fill(foot, bun)
    canvas.fill(box(0, y - 0.12, width * 0.86, 0.1), mixed(bun, PALE[0], 0.5))
    y -= 0.2
    layers = draws.shuffled((_lettuce, _tomato_layer, _cheese, _onion_layer))
    layers = [_patty, *layers[: draws.whole(1, 3)]]
    if draws.chance(0.5):
        layers = layers[1:] + layers[:1]
    if draws.chance(0.3):
        layers += [_patty, _cheese]
    for paint in layers:
        y = paint(canvas, draws, y, width * draws.uniform(0.95, 1.08))
    _crown(canvas, draws, y, width, bun)


def _crown(
    canvas: Canvas, draws: Draws, y: float, width: float, bun: Colour
) -> None:
    high = draws.uniform(0.5, 0.75)
    half = width / 2
    steps = [math.pi + math.pi * i / 14 for i in range(15)]
    dome = [
        (
            half * math.copysign(abs(math.cos(t)) ** 0.8, math.cos(t)),
            y - 0.05 + high * math.sin(t),
        )
        for t in steps
    ]
    dome += [(half * 0.97, y + 0.06), (-half * 0.97, y + 0.06)]
    canvas.fill(dome, scaled(bun, 0.9))
    lx, ly = canvas.light
    shine = [(0.75 * u + 0.08 * lx, 0.75 * (v - y) + y - 0.08) for u, v in dome]
    canvas.fill(shine, mixed(bun, (255, 236, 200), 0.25), opacity=0.7)
    if draws.chance(0.75):
        for _ in range(draws.whole(12, 26)):
            u, v = draws.in_disc(1)
            x, h = u * half * 0.75, (0.55 + 0.35 * v) * high
            if (x / half) ** 2 + (h / high) ** 2 < 0.9:
                seed = ellipse(x, y - h, 0.045, 0.025, draws.angle(), 6)
                canvas.fill(seed, PALE[1])
    if draws.chance(0.15):
        canvas.fill(box(0, y - high - 0.1, 0.03, 0.5), (200, 170, 120))


def _patty(canvas: Canvas, draws: Draws, y: float, width: float) -> float:
    colour = one_of(draws, BROWNS)
    slab = rounded(0, y - 0.12, width, 0.28, 0.12)
    canvas.fill(slab, colour)
    for _ in range(12):
        x = width * draws.uniform(-0.45, 0.45)
        v = y - 0.12 + draws.near(0, 0.1)
        r = draws.uniform(0.03, 0.07)
        shade = scaled(colour, draws.pick((0.6, 1.3)))
        canvas.fill(blob(draws, x, v, r, r * 0.6, 0.3, 0, 7), shade)
    return y - 0.25


def _lettuce(canvas: Canvas, draws: Draws, y: float, width: float) -> float:
    colour = one_of(draws, GREENS)
    half = width * 0.54
    frill = wave(
        (-half, y), (half, y), 0.06, draws.uniform(4, 7), draws.angle()
    )
    canvas.fill(ribbon(frill, 0.16), colour)
    canvas.fill(ribbon(frill, 0.05), mixed(colour, (255, 255, 200), 0.35))
    return y - 0.08


def _tomato_layer(
    canvas: Canvas, draws: Draws, y: float, width: float
) -> float:
    colour = one_of(draws, REDS)
    for side in (-1, 1):
        piece = capsule(side * width * 0.23, y - 0.04, width * 0.46, 0.13)
        canvas.fill(piece, colour)
    return y - 0.1


def _onion_layer(canvas: Canvas, draws: Draws, y: float, width: float) -> float:
    colour = mixed(PALE[2], (170, 80, 130), draws.uniform(0, 0.5))
    for i in range(-2, 3):
        piece = capsule(i * width * 0.17, y - 0.02, width * 0.2, 0.08)
        canvas.fill(piece, varied(draws, colour, 0.1))
    return y - 0.06


def _cheese(canvas: Canvas, draws: Draws, y: float, width: float) -> float:
    colour = varied(draws, draws.pick(((244, 186, 60), (246, 222, 140))))
    half = width * 0.5
    canvas.fill(box(0, y - 0.02, 2 * half, 0.08), colour)
    for _ in range(draws.whole(1, 3)):
        x = draws.uniform(-0.7, 0.7) * half
        w = draws.uniform(0.15, 0.3)
        drip = [(x - w, y), (x + w, y), (x, y + draws.uniform(0.12, 0.28))]
        canvas.fill(drip, colour)
    return y - 0.06
