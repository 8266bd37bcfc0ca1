"""Fried rice."""

from __future__ import annotations

from trainer.demo import garnish
from trainer.demo.colours import BROWNS, GLAZES, GREENS, PALE
from trainer.demo.painter import Painter
from trainer.demo.shapes import box, disc, polar, ribbon
from trainer.demo.tableware import bowl, chopsticks, dish


def fried_rice(art: Painter) -> None:
    """Paints a heap of grains with egg, carrot, peas and spring onion."""
    if art.chance(0.4):
        bowl(art)
        rx = ry = art.uniform(0.85, 0.95)
    else:
        dish(art)
        rx, ry = art.uniform(0.65, 1.05), art.uniform(0.6, 0.85)
    rice = art.one_of(PALE).mixed(art.one_of(GLAZES), art.near(0.3, 0.3))
    art.solid(art.blob(0, 0, rx, ry, 0.12), rice.scaled(0.72), 0.15, gloss=0)
    garnish.grains(art, (0, 0), (rx, ry), 190, rice)
    bits = art.shuffled((_egg_bit, _carrot, _pea, _onion_bit, _meat_bit))
    for paint in bits[: art.whole(2, 5)]:
        for u, v in art.scatter(art.whole(4, 14), 0.9):
            paint(art, u * rx, v * ry)
    garnish.grains(art, (0, 0), (rx * 0.9, ry * 0.9), 60, rice)
    if art.chance(0.25):
        prawn = art.varied((236, 150, 110))
        for x, y in art.scatter(art.whole(2, 4), 0.5):
            start = art.angle()
            arc = [polar(x, y, 0.17, start + 0.6 * i) for i in range(7)]
            art.solid(ribbon(arc, 0.12), prawn, 0.06, gloss=0)
            for u, v in arc[1:-1]:
                art.fill(disc(u, v, 0.03, 6), prawn.mixed(PALE[2], 0.6))
    if art.chance(0.3):
        garnish.leaf(art, 0, 0, 0.3)
    if art.chance(0.2):
        chopsticks(art)


def _egg_bit(art: Painter, x: float, y: float) -> None:
    r = art.uniform(0.06, 0.14)
    art.fill(art.blob(x, y, r, r, 0.5), art.varied((240, 204, 90)))


def _carrot(art: Painter, x: float, y: float) -> None:
    cube = box(x, y, 0.1, 0.1, art.angle())
    art.solid(cube, art.varied((228, 120, 40)), 0.04, gloss=0)


def _pea(art: Painter, x: float, y: float) -> None:
    art.solid(disc(x, y, 0.06, 10), art.one_of(GREENS), 0.05)


def _onion_bit(art: Painter, x: float, y: float) -> None:
    green = art.one_of(GREENS)
    garnish.ring(art, x, y, 0.06, green, green.mixed(PALE[0], 0.6))


def _meat_bit(art: Painter, x: float, y: float) -> None:
    cube = art.blob(x, y, 0.09, 0.07, 0.2, art.angle(), 8)
    art.solid(cube, art.one_of(BROWNS), 0.05, gloss=0)
