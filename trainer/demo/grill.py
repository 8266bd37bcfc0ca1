"""Dishes off the grill: wings, salmon and steak."""

from __future__ import annotations

import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
    BROWNS,
    FISH,
    GLAZES,
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
    capsule,
    disc,
    ellipse,
    ribbon,
    shrunk,
    turned,
)
from trainer.demo.tableware import dish


def chicken_wings(canvas: Canvas, draws: Draws) -> None:
    """A heap of glazed drumettes and flats."""
    dish(canvas, draws)
    if draws.chance(0.35):
        garnish.stalks(canvas, draws, 0.8 * draws.sign(), draws.near(0, 0.4))
    if draws.chance(0.35):
        garnish.dip(canvas, draws, 0.8 * draws.sign(), -0.5)
    if draws.chance(0.25):
        garnish.salad(canvas, draws, 0, 0.4)
    glaze = one_of(draws, GLAZES + BROWNS)
    count = draws.whole(3, 9)
    spread = 0.25 + 0.055 * count
    spots = sorted((draws.in_disc(spread) for _ in range(count)), key=_lower)
    for i, (x, y) in enumerate(spots):
        paint = _drumette if draws.chance(0.55) else _flat
        lift = 0.2 * (1 - math.hypot(x, y) / (spread + 0.01)) * (i > 2)
        paint(canvas, draws, x, y, lift, varied(draws, glaze, 0.2))
    if draws.chance(0.4):
        garnish.herbs(canvas, draws, draws.whole(6, 20), 0.6)
    if draws.chance(0.3):
        for _ in range(30):
            x, y = draws.in_disc(0.55)
            seed = ellipse(x, y, 0.03, 0.018, draws.angle(), 5)
            canvas.fill(seed, PALE[0], height=0.25)


def _lower(point: tuple[float, float]) -> float:
    return point[1]


def _drumette(
    canvas: Canvas, draws: Draws, x: float, y: float, lift: float, skin: Colour
) -> None:
    """Thick at one end, a bone at the other."""
    angle = draws.angle()
    k = draws.uniform(0.85, 1.15)
    meat = [
        (-0.42, 0.03),
        (-0.4, -0.15),
        (-0.22, -0.25),
        (0.0, -0.2),
        (0.2, -0.09),
        (0.38, -0.06),
        (0.38, 0.06),
        (0.2, 0.1),
        (0.0, 0.2),
        (-0.22, 0.24),
        (-0.38, 0.16),
    ]
    scaled_meat = [(k * u, k * v) for u, v in meat]
    bone = turned(capsule(0.44 * k, 0, 0.22, 0.08), x, y, angle)
    canvas.solid(bone, one_of(draws, PALE), 0.08, height=lift)
    outline = turned(scaled_meat, x, y, angle)
    _crisp(canvas, draws, outline, lift, skin)


def _flat(
    canvas: Canvas, draws: Draws, x: float, y: float, lift: float, skin: Colour
) -> None:
    """Bent, as thick all along, with a groove between two bones."""
    angle = draws.angle()
    k = draws.uniform(0.8, 1.1)
    bend = draws.uniform(0.1, 0.22) * draws.sign()
    path = [(0.16 * k * i, bend * (1 - (i / 3) ** 2)) for i in range(-3, 4)]
    outline = turned(ribbon(path, 0.26 * k), x, y, angle)
    _crisp(canvas, draws, outline, lift, skin)
    groove = turned(ribbon(path[1:-1], 0.04), x, y, angle)
    canvas.fill(groove, scaled(skin, 0.65), height=lift + 0.15)


def _crisp(
    canvas: Canvas, draws: Draws, outline: Outline, lift: float, skin: Colour
) -> None:
    """Skin: browner in spots, with small bright reflections."""
    canvas.solid(outline, skin, 0.15, height=lift, gloss=0.3)
    xs = [p[0] for p in outline]
    ys = [p[1] for p in outline]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    top = lift + 0.15
    for _ in range(5):
        u, v = draws.in_disc(0.17)
        r = draws.uniform(0.03, 0.08)
        spot = blob(draws, x + u, y + v, r, r, 0.4, 0, 8)
        canvas.fill(spot, scaled(skin, 0.55), height=top, opacity=0.6)
    for _ in range(2):
        u, v = draws.in_disc(0.14)
        spark = ellipse(x + u, y + v, 0.05, 0.02, draws.angle(), 8)
        canvas.fill(spark, (255, 240, 215), height=top, opacity=0.7)


def _sides(canvas: Canvas, draws: Draws) -> None:
    """What lies beside a piece of meat or fish."""
    for _ in range(draws.whole(0, 2)):
        turn = draws.angle()
        r = draws.uniform(0.65, 0.95)
        garnish.side_dish(canvas, draws, r * math.cos(turn), r * math.sin(turn))


def grilled_salmon(canvas: Canvas, draws: Draws) -> None:
    """One or two fillets whose muscle shows as pale curved lines."""
    dish(canvas, draws)
    _sides(canvas, draws)
    flesh = one_of(draws, FISH)
    flesh = mixed(flesh, one_of(draws, GLAZES), draws.uniform(0, 0.6))
    angle = draws.angle()
    if draws.chance(0.3):
        c, s = 0.36 * math.sin(angle), 0.36 * math.cos(angle)
        _fillet(canvas, draws, c, -s, angle, 0.75, flesh)
        _fillet(canvas, draws, -c, s, angle + draws.near(0, 0.4), 0.75, flesh)
    else:
        x, y = draws.in_disc(0.2)
        _fillet(canvas, draws, x, y, angle, draws.uniform(0.85, 1.15), flesh)
    if draws.chance(0.5):
        garnish.herbs(canvas, draws, draws.whole(4, 20), 0.5)
    x, y = draws.in_disc(0.5)
    if draws.chance(0.35):
        garnish.lemon(canvas, draws, x, y)
    elif draws.chance(0.3):
        garnish.sprig(canvas, draws, x, y)


def _fillet(
    canvas: Canvas,
    draws: Draws,
    x: float,
    y: float,
    angle: float,
    size: float,
    flesh: Colour,
) -> None:
    """Long, thinner at one end; lines bent like chevrons across it."""
    blunt, tail = draws.uniform(0.3, 0.38), draws.uniform(0.12, 0.28)

    def half(u: float) -> float:
        ends = min(1.0, 6 * (u + 0.85), 5 * (0.85 - u))
        width = blunt + (tail - blunt) * (u + 0.85) / 1.7
        return width * math.sqrt(max(0.05, ends))

    steps = [-0.85 + 0.17 * i for i in range(11)]
    shape = [(u, -half(u)) for u in steps]
    shape += [(u, half(u)) for u in reversed(steps)]

    def put(points: Outline) -> Outline:
        return turned([(size * u, size * v) for u, v in points], x, y, angle)

    outline = put(shape)
    if draws.chance(0.6):
        skin = varied(draws, (120, 120, 116), 0.3)
        canvas.fill(outline, skin, down=0.09)
    canvas.solid(outline, flesh, 0.16, gloss=0.15)
    pale = mixed(flesh, (255, 236, 220), draws.uniform(0.4, 0.7))
    lean = draws.sign() * draws.uniform(0.1, 0.22)
    gap = draws.uniform(0.12, 0.2)
    u = -0.75
    while u < 0.75:
        h = half(u) * 0.95
        path = [(u + lean, -h), (u + lean / 4, -h / 2), (u, 0.0)]
        path += [(u + lean / 4, h / 2), (u + lean, h)]
        inside = [p for p in path if abs(p[1]) <= half(p[0])]
        if len(inside) > 2:
            canvas.fill(put(ribbon(inside, 0.03)), pale, height=0.16)
        u += gap
    if draws.chance(0.7):
        char = scaled(flesh, draws.uniform(0.35, 0.6))
        _sear(canvas, draws, put, half, char)


def _sear(
    canvas: Canvas, draws: Draws, put: object, half: object, char: Colour
) -> None:
    """Burnt edge or bars of the grill."""
    assert callable(put) and callable(half)
    if draws.chance(0.5):
        for i in range(draws.whole(2, 4)):
            u = -0.5 + 0.33 * i
            h = half(u) * 0.85
            bar = ribbon([(u - 0.1, -h), (u, 0.0), (u + 0.1, h)], 0.06)
            canvas.fill(put(bar), char, height=0.16, opacity=0.7)
        return
    for _ in range(12):
        u = draws.uniform(-0.75, 0.75)
        v = draws.sign() * half(u) * draws.uniform(0.7, 0.95)
        r = draws.uniform(0.04, 0.1)
        spot = put(blob(draws, u, v, r, r * 0.6, 0.4, 0, 8))
        canvas.fill(spot, char, height=0.16, opacity=0.55)


def steak(canvas: Canvas, draws: Draws) -> None:
    """A slab with grill marks and a rim of fat, whole or sliced."""
    dish(canvas, draws)
    _sides(canvas, draws)
    crust = one_of(draws, BROWNS + GLAZES[2:4])
    if draws.chance(0.4):
        _slices(canvas, draws, crust)
    else:
        _slab(canvas, draws, crust)
    if draws.chance(0.25):
        x, y = draws.in_disc(0.2)
        butter = capsule(x, y, 0.3, 0.2, draws.angle())
        canvas.solid(butter, (246, 224, 140), 0.08, height=0.15)
    if draws.chance(0.3):
        garnish.sprig(canvas, draws, *draws.in_disc(0.4))
    elif draws.chance(0.3):
        garnish.herbs(canvas, draws, draws.whole(5, 20), 0.5)


def _slab(canvas: Canvas, draws: Draws, crust: Colour) -> None:
    angle = draws.angle()
    rx, ry = draws.uniform(0.75, 1.0), draws.uniform(0.5, 0.68)
    outline = blob(draws, 0, 0, rx, ry, 0.2, angle, 22)
    if draws.chance(0.75):
        fat = one_of(draws, PALE)
        side = draws.angle()
        rim = [
            (u + 0.1 * math.cos(side), v + 0.1 * math.sin(side))
            for u, v in outline
        ]
        canvas.solid(rim, mixed(fat, crust, 0.25), 0.15, gloss=0)
    canvas.solid(outline, crust, 0.2, gloss=0.12)
    inner = shrunk(outline, 0.9)
    for _ in range(18):
        u, v = draws.in_disc(0.85)
        (x, y) = turned([(u * rx, v * ry)], 0, 0, angle)[0]
        r = draws.uniform(0.03, 0.12)
        shade = scaled(crust, draws.pick((0.7, 0.8, 1.25)))
        spot = blob(draws, x, y, r, r * 0.6, 0.4, angle, 8)
        canvas.fill(spot, shade, height=0.2, opacity=0.5)
    if draws.chance(0.75):
        turn = draws.angle()
        _bars(canvas, inner, scaled(crust, 0.4), turn)
        if draws.chance(0.5):
            _bars(canvas, inner, scaled(crust, 0.45), turn + 1.2)
    if draws.chance(0.25):
        bone = [(-0.5, -0.06), (0.3, -0.06), (0.3, -0.3), (0.42, -0.3)]
        bone += [(0.42, 0.3), (0.3, 0.3), (0.3, 0.06), (-0.5, 0.06)]
        canvas.fill(turned(bone, 0, 0, angle), one_of(draws, PALE), height=0.2)


def _bars(
    canvas: Canvas, outline: Outline, colour: Colour, angle: float
) -> None:
    """Parallel grill marks, as far as the outline reaches."""
    flat = turned(outline, 0, 0, -angle)
    top = min(v for _, v in flat)
    bottom = max(v for _, v in flat)
    v = top + 0.12
    while v < bottom - 0.08:
        cuts = []
        for (a, b), (c, d) in zip(flat, flat[1:] + flat[:1], strict=True):
            if (b < v) != (d < v):
                cuts.append(a + (c - a) * (v - b) / (d - b))
        if len(cuts) >= 2:
            left, right = min(cuts), max(cuts)
            bar = capsule((left + right) / 2, v, right - left, 0.06)
            canvas.fill(
                turned(bar, 0, 0, angle), colour, height=0.2, opacity=0.8
            )
        v += 0.2


def _slices(canvas: Canvas, draws: Draws, crust: Colour) -> None:
    """A fan of slices, pink inside and brown around."""
    pink = mixed(one_of(draws, REDS), PALE[1], draws.uniform(0.15, 0.45))
    pink = mixed(pink, crust, draws.uniform(0, 0.3))
    crust = scaled(crust, 0.85)
    angle = draws.angle()
    count = draws.whole(4, 8)
    fan = draws.near(0, 0.12)
    for i in range(count):
        d = (i - (count - 1) / 2) * 0.24
        x, y = turned([(d, draws.near(0, 0.05))], 0, 0, angle)[0]
        turn = angle + math.pi / 2 + fan * (i - count / 2)
        length = 1.05 - 0.5 * abs(d) + draws.near(0, 0.1)
        piece = blob(draws, x, y, length / 2, 0.15, 0.1, turn, 16)
        canvas.solid(piece, crust, 0.2, gloss=0)
        inside = blob(draws, x, y, length / 2.25, 0.11, 0.12, turn, 14)
        canvas.fill(inside, varied(draws, pink), height=0.2)
        core = disc(x, y, 0.05, 8)
        canvas.fill(core, scaled(pink, 0.85), height=0.2, opacity=0.6)
