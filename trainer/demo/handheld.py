"""Dishes that are eaten by hand: burgers, ice cream, pizza and sushi."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    CHINA,
    CREAMS,
    CRUSTS,
    FISH,
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
    Outline,
    blob,
    box,
    capsule,
    disc,
    ellipse,
    ribbon,
    rounded,
    wave,
    wedge,
)
from trainer.demo.tableware import board, chopsticks, dish, plate

TURN = 2 * math.pi


def pizza(canvas: Canvas, draws: Draws) -> None:
    """Round, cut or a single slice: crust, sauce, cheese and toppings."""
    kind = draws.whole(0, 3)
    start = draws.angle()
    crust = one_of(draws, CRUSTS)
    if kind == 0:
        dish(canvas, draws)
        for i in range(draws.whole(1, 2)):
            turn = start + 2.6 * i
            half = draws.uniform(0.3, 0.5)
            x, y = -0.7 * math.cos(turn), -0.7 * math.sin(turn)
            _pizza(canvas, draws, crust, (x, y), 1.45, turn - half, turn + half)
        return
    if draws.chance(0.7):
        dish(canvas, draws)
    gone = draws.uniform(0.6, 1.6) if kind == 1 else 0.0
    _pizza(canvas, draws, crust, (0, 0), 1.0, start, start + TURN - gone)


def _pizza(
    canvas: Canvas,
    draws: Draws,
    crust: Colour,
    at: tuple[float, float],
    radius: float,
    start: float,
    stop: float,
) -> None:
    x, y = at
    rim = wedge(x, y, radius, start, stop)
    canvas.solid(rim, crust, 0.08, gloss=0)
    span = stop - start
    for _ in range(round(5 * span)):
        t = draws.uniform(start + 0.05, stop - 0.05)
        u, v = x + 0.94 * radius * math.cos(t), y + 0.94 * radius * math.sin(t)
        r = draws.uniform(0.03, 0.09)
        canvas.fill(
            blob(draws, u, v, r, r * 0.7, 0.4, t, 8),
            scaled(crust, draws.pick((0.6, 0.75, 1.2))),
            height=0.08,
        )
    sauce = one_of(draws, REDS)
    edge = 0.88 * radius
    canvas.fill(wedge(x, y, edge, start, stop), sauce, height=0.08)
    cheese = mixed(one_of(draws, PALE), (240, 190, 90), draws.uniform(0, 0.7))
    canvas.fill(wedge(x, y, edge * 0.96, start, stop), cheese, height=0.08)

    def spot(margin: float) -> tuple[float, float]:
        while True:
            t = draws.uniform(start, stop)
            r = edge * math.sqrt(draws.uniform(0.03, 0.85))
            # Away from the two cuts.
            away = min(t - start, stop - t) * r
            if span > 6.2 or away > margin:
                return x + r * math.cos(t), y + r * math.sin(t)

    for _ in range(round(5 * span)):
        u, v = spot(0.1)
        r = draws.uniform(0.05, 0.13)
        shade = mixed(cheese, draws.pick((sauce, crust, PALE[2])), 0.5)
        patch = blob(draws, u, v, r, r * 0.8, 0.4, 0, 10)
        canvas.fill(patch, shade, height=0.08, opacity=0.6)
    toppings = draws.shuffled(
        (_pepperoni, _pepperoni, _olive, _basil, _mushroom, _pepper)
    )
    for paint in toppings[: draws.whole(1, 3)]:
        for _ in range(max(2, round(draws.uniform(0.8, 1.7) * span))):
            paint(canvas, draws, *spot(0.12))
    if span > 6.2 and draws.chance(0.5):
        for i in range(4):
            cut = box(x, y, 2 * radius, 0.02, start + i * math.pi / 4)
            canvas.fill(cut, scaled(crust, 0.5), height=0.08)


def _pepperoni(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    colour = one_of(draws, REDS)
    canvas.solid(disc(x, y, 0.13, 14), scaled(colour, 0.85), 0.02, gloss=0)
    canvas.fill(disc(x, y, 0.1, 12), colour, height=0.08)
    for _ in range(3):
        u, v = draws.in_disc(0.08)
        canvas.fill(disc(x + u, y + v, 0.02, 5), (230, 140, 110), height=0.08)


def _olive(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    colour = draws.pick(((40, 36, 44), (90, 100, 50)))
    garnish.ring(canvas, x, y, 0.08, colour, (226, 190, 120))


def _basil(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    garnish.leaf(canvas, draws, x, y, draws.uniform(0.12, 0.2))


def _mushroom(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    colour = varied(draws, (206, 186, 160))
    turn = draws.angle()
    cap = wedge(x, y, 0.13, turn, turn + math.pi)
    canvas.solid(cap, colour, 0.03, gloss=0)
    stem = capsule(x, y, 0.18, 0.06, turn - math.pi / 2)
    canvas.fill(stem, mixed(colour, PALE[2], 0.4), height=0.08)


def _pepper(canvas: Canvas, draws: Draws, x: float, y: float) -> None:
    colour = one_of(draws, GREENS[:2] + REDS)
    turn = draws.angle()
    arc = [
        (
            x + 0.12 * math.cos(turn + 0.5 * i),
            y + 0.12 * math.sin(turn + 0.5 * i),
        )
        for i in range(6)
    ]
    canvas.fill(ribbon(arc, 0.05), colour, height=0.08)


def hamburger(canvas: Canvas, draws: Draws) -> None:
    """A stack seen from the side, bun to bun."""
    bun = one_of(draws, CRUSTS)
    width = draws.uniform(1.5, 1.9)
    _under(canvas, draws)
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


def _under(canvas: Canvas, draws: Draws) -> None:
    """A plate or board seen from the side."""
    colour = one_of(draws, CHINA)
    y = 0.82
    shape = ellipse(0, y, draws.uniform(1.3, 1.8), 0.2, 0, 30)
    canvas.shadow(shape, 0.1)
    canvas.fill(shape, scaled(colour, 0.7), down=0.05)
    canvas.fill(shape, colour)


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


def ice_cream(canvas: Canvas, draws: Draws) -> None:
    """Scoops in a cone or a cup, or on a stick."""
    kind = draws.whole(0, 5)
    flavours = [one_of(draws, CREAMS) for _ in range(3)]
    count = draws.whole(1, 3)
    if kind <= 2:
        _cone(canvas, draws)
        for i in range(count):
            r = 0.5 - 0.06 * i
            x = draws.near(0, 0.06)
            _scoop(canvas, draws, x, -0.05 - 0.52 * i, r, flavours[i])
        top = -0.05 - 0.52 * (count - 1) - 0.4
    else:
        spots = [(-0.38, -0.1), (0.38, -0.08), (0.0, -0.42)]
        _under(canvas, draws) if draws.chance(0.4) else None
        _cup_back(canvas, draws)
        for (x, y), flavour in zip(spots[: count + 1], flavours, strict=False):
            _scoop(canvas, draws, x, y, 0.45, flavour)
        _cup(canvas, draws)
        top = -0.8 if count > 1 else -0.5
    _toppings(canvas, draws, top)


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


def _cup_back(canvas: Canvas, draws: Draws) -> None:
    canvas.fill(ellipse(0, 0.12, 0.95, 0.25, 0, 26), one_of(draws, CHINA))


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
                0.15 * i, top + 0.3, draws.uniform(0.2, 0.45), 0.1, TURN / 4
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
    filling = one_of(draws, FISH + GREENS[:2] + PALE[3:])
    for row, paint in enumerate(row_kinds):
        for column in range(columns):
            x = (column - (columns - 1) / 2) * gap + draws.near(0, 0.05)
            y = (row - (rows - 1) / 2) * gap * 1.2 + draws.near(0, 0.05)
            paint(canvas, draws, x, y, turn, filling)
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
    angle = TURN / 4 + turn
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
