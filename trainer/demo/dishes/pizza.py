"""Pizza."""

from __future__ import annotations

import math
from typing import NamedTuple

from trainer.demo import garnish
from trainer.demo.colours import CRUSTS, GREENS, PALE, REDS, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import (
    Outline,
    Point,
    box,
    capsule,
    disc,
    polar,
    ribbon,
    wedge,
)
from trainer.demo.tableware import dish


class Sector(NamedTuple):
    """A piece of a round pizza, or a whole one; angles in radians."""

    start: float
    stop: float
    centre: Point = (0.0, 0.0)
    radius: float = 1.0

    @property
    def span(self) -> float:
        """The angle of the piece; 2 pi for a whole pizza."""
        return self.stop - self.start

    def outline(self, share: float) -> Outline:
        """Returns the outline of the part within a share of the radius."""
        return wedge(*self.centre, share * self.radius, self.start, self.stop)

    def at(self, distance: float, angle: float) -> Point:
        """Returns a point; its distance is a share of the radius."""
        return polar(*self.centre, distance * self.radius, angle)

    def spot(self, art: Painter, margin: float) -> Point:
        """Returns a random point within the crust, away from both cuts."""
        while True:
            angle = art.uniform(self.start, self.stop)
            distance = 0.88 * math.sqrt(art.uniform(0.03, 0.85))
            away = min(angle - self.start, self.stop - angle) * distance
            if self.span > 6.2 or away * self.radius > margin:
                return self.at(distance, angle)


def pizza(art: Painter) -> None:
    """Paints a whole pizza, a cut one or a slice, with toppings."""
    kind = art.whole(0, 3)
    start = art.angle()
    crust = art.one_of(CRUSTS)
    if kind == 0:
        dish(art)
        for i in range(art.whole(1, 2)):
            turn = start + 2.6 * i
            half = art.uniform(0.3, 0.5)
            point = polar(0, 0, -0.7, turn)
            _piece(art, crust, Sector(turn - half, turn + half, point, 1.45))
        return
    if art.chance(0.7):
        dish(art)
    gone = art.uniform(0.6, 1.6) if kind == 1 else 0.0
    _piece(art, crust, Sector(start, start + math.tau - gone))
    if not gone and art.chance(0.5):
        for i in range(4):
            cut = box(0, 0, 2, 0.02, start + i * math.pi / 4)
            art.fill(cut, crust.scaled(0.5), height=0.08)


def _piece(art: Painter, crust: Colour, piece: Sector) -> None:
    art.solid(piece.outline(1), crust, 0.08, gloss=0)
    for _ in range(round(5 * piece.span)):
        t = art.uniform(piece.start + 0.05, piece.stop - 0.05)
        x, y = piece.at(0.94, t)
        r = art.uniform(0.03, 0.09)
        blister = art.blob(x, y, r, r * 0.7, 0.4, t, 8)
        shade = crust.scaled(art.pick((0.6, 0.75, 1.2)))
        art.fill(blister, shade, height=0.08)
    sauce = art.one_of(REDS)
    art.fill(piece.outline(0.88), sauce, height=0.08)
    cheese = art.one_of(PALE).mixed((240, 190, 90), art.uniform(0, 0.7))
    art.fill(piece.outline(0.845), cheese, height=0.08)
    for _ in range(round(5 * piece.span)):
        x, y = piece.spot(art, 0.1)
        r = art.uniform(0.05, 0.13)
        shade = cheese.mixed(art.pick((sauce, crust, PALE[2])), 0.5)
        patch = art.blob(x, y, r, r * 0.8, 0.4, 0, 10)
        art.fill(patch, shade, height=0.08, opacity=0.6)
    kinds = (_pepperoni, _pepperoni, _olive, _basil, _mushroom, _pepper)
    for paint in art.shuffled(kinds)[: art.whole(1, 3)]:
        for _ in range(max(2, round(art.uniform(0.8, 1.7) * piece.span))):
            paint(art, *piece.spot(art, 0.12))


def _pepperoni(art: Painter, x: float, y: float) -> None:
    colour = art.one_of(REDS)
    art.solid(disc(x, y, 0.13, 14), colour.scaled(0.85), 0.02, gloss=0)
    art.fill(disc(x, y, 0.1, 12), colour, height=0.08)
    for u, v in art.scatter(3, 0.08):
        art.fill(disc(x + u, y + v, 0.02, 5), (230, 140, 110), height=0.08)


def _olive(art: Painter, x: float, y: float) -> None:
    colour = art.pick(((40, 36, 44), (90, 100, 50)))
    garnish.ring(art, x, y, 0.08, colour, (226, 190, 120))


def _basil(art: Painter, x: float, y: float) -> None:
    garnish.leaf(art, x, y, art.uniform(0.12, 0.2))


def _mushroom(art: Painter, x: float, y: float) -> None:
    colour = art.varied((206, 186, 160))
    turn = art.angle()
    art.solid(wedge(x, y, 0.13, turn, turn + math.pi), colour, 0.03, gloss=0)
    stem = capsule(x, y, 0.18, 0.06, turn - math.pi / 2)
    art.fill(stem, colour.mixed(PALE[2], 0.4), height=0.08)


def _pepper(art: Painter, x: float, y: float) -> None:
    colour = art.one_of(GREENS[:2] + REDS)
    turn = art.angle()
    arc = [polar(x, y, 0.12, turn + 0.5 * i) for i in range(6)]
    art.fill(ribbon(arc, 0.05), colour, height=0.08)
