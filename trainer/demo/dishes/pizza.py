"""Pizza."""

from __future__ import annotations

import dataclasses
import math

from trainer.demo import garnish
from trainer.demo.canvas import Canvas
from trainer.demo.colours import (
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
    Outline,
    Point,
    blob,
    box,
    capsule,
    disc,
    ribbon,
    wedge,
)
from trainer.demo.tableware import dish


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sector:
    """A piece of a round pizza, or all of it; angles in radians."""

    x: float = 0.0
    y: float = 0.0
    radius: float = 1.0
    start: float
    stop: float

    @property
    def span(self) -> float:
        """2 pi for a whole one."""
        return self.stop - self.start

    def outline(self, share: float) -> Outline:
        """That of the part within a share of the radius."""
        r = share * self.radius
        return wedge(self.x, self.y, r, self.start, self.stop)

    def at(self, distance: float, angle: float) -> Point:
        """A point, its distance as a share of the radius."""
        r = distance * self.radius
        return self.x + r * math.cos(angle), self.y + r * math.sin(angle)

    def spot(self, draws: Draws, margin: float) -> Point:
        """A point within the crust, as far from both cuts as asked for."""
        while True:
            angle = draws.uniform(self.start, self.stop)
            distance = 0.88 * math.sqrt(draws.uniform(0.03, 0.85))
            away = min(angle - self.start, self.stop - angle) * distance
            if self.span > 6.2 or away * self.radius > margin:
                return self.at(distance, angle)


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
            piece = Sector(
                x=-0.7 * math.cos(turn),
                y=-0.7 * math.sin(turn),
                radius=1.45,
                start=turn - half,
                stop=turn + half,
            )
            _piece(canvas, draws, crust, piece)
        return
    if draws.chance(0.7):
        dish(canvas, draws)
    gone = draws.uniform(0.6, 1.6) if kind == 1 else 0.0
    whole = Sector(start=start, stop=start + math.tau - gone)
    _piece(canvas, draws, crust, whole)
    if not gone and draws.chance(0.5):
        for i in range(4):
            cut = box(0, 0, 2, 0.02, start + i * math.pi / 4)
            canvas.fill(cut, scaled(crust, 0.5), height=0.08)


def _piece(canvas: Canvas, draws: Draws, crust: Colour, piece: Sector) -> None:
    canvas.solid(piece.outline(1), crust, 0.08, gloss=0)
    for _ in range(round(5 * piece.span)):
        t = draws.uniform(piece.start + 0.05, piece.stop - 0.05)
        x, y = piece.at(0.94, t)
        r = draws.uniform(0.03, 0.09)
        blister = blob(draws, x, y, r, r * 0.7, 0.4, t, 8)
        shade = scaled(crust, draws.pick((0.6, 0.75, 1.2)))
        canvas.fill(blister, shade, height=0.08)
    sauce = one_of(draws, REDS)
    canvas.fill(piece.outline(0.88), sauce, height=0.08)
    cheese = mixed(one_of(draws, PALE), (240, 190, 90), draws.uniform(0, 0.7))
    canvas.fill(piece.outline(0.845), cheese, height=0.08)
    for _ in range(round(5 * piece.span)):
        x, y = piece.spot(draws, 0.1)
        r = draws.uniform(0.05, 0.13)
        shade = mixed(cheese, draws.pick((sauce, crust, PALE[2])), 0.5)
        patch = blob(draws, x, y, r, r * 0.8, 0.4, 0, 10)
        canvas.fill(patch, shade, height=0.08, opacity=0.6)
    toppings = draws.shuffled(
        (_pepperoni, _pepperoni, _olive, _basil, _mushroom, _pepper)
    )
    for paint in toppings[: draws.whole(1, 3)]:
        for _ in range(max(2, round(draws.uniform(0.8, 1.7) * piece.span))):
            paint(canvas, draws, *piece.spot(draws, 0.12))


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
