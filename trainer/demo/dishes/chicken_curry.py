"""Chicken curry."""

from __future__ import annotations

from trainer.demo import garnish
from trainer.demo.colours import GLAZES, GREENS, PALE, REDS, SAUCES, Colour
from trainer.demo.painter import Painter
from trainer.demo.shapes import disc, polar, ribbon, wave
from trainer.demo.tableware import bowl, plate


def chicken_curry(art: Painter) -> None:
    """Paints chunks in thick sauce, often with rice."""
    sauce = art.one_of(SAUCES)
    if art.chance(0.6):
        bowl(art)
        art.fill(disc(0, 0, 0.95, 30), sauce)
        rice_share = 0.35
    else:
        plate(art, art.uniform(1.2, 1.4))
        pool = art.blob(0, 0, 0.92, 0.85, 0.1)
        art.fill(pool, sauce.scaled(0.7))
        art.fill(pool, sauce, height=0.04)
        rice_share = 0.7
    for x, y in art.scatter(24, 0.82):
        r = art.uniform(0.03, 0.14)
        spot = art.blob(x, y, r, r, 0.3, 0, 10)
        shade = sauce.scaled(art.pick((0.75, 0.85, 1.2, 1.3)))
        art.fill(spot, shade, opacity=0.5)
    middle = 0.0
    if art.chance(rice_share):
        middle = 0.35
        rice = art.one_of(PALE)
        heap = art.blob(-0.5, 0, 0.45, 0.7, 0.1)
        art.solid(heap, rice.scaled(0.8), 0.12, gloss=0)
        garnish.grains(art, (-0.5, 0), (0.42, 0.66), 90, rice)
    _chunks(art, sauce, middle)
    if art.chance(0.35):
        x, y = art.in_disc(0.225)
        dx, dy = polar(0, 0, 0.45, art.angle())
        path = wave((x - dx, y - dy), (x + dx, y + dy), 0.25, 2.5, art.angle())
        cream = ribbon(path, art.uniform(0.03, 0.08))
        art.fill(cream, art.one_of(PALE), opacity=0.85, height=0.1)
    if art.chance(0.6):
        garnish.herbs(art, art.whole(6, 24), 0.75)
    for x, y in art.scatter(art.whole(0, 3), 0.5):
        garnish.leaf(art, x, y, art.uniform(0.12, 0.25))


def _chunks(art: Painter, sauce: Colour, middle: float) -> None:
    """Paints meat coated with sauce, and bits of vegetables."""
    meat = sauce.mixed(art.one_of(GLAZES + PALE), art.uniform(0.3, 0.7))
    for x, y in art.scatter(art.whole(5, 10), 0.62):
        x = middle + x * (1 - middle)
        r = art.uniform(0.14, 0.27)
        piece = art.blob(x, y, r, r * 0.75, 0.3, art.angle(), 12)
        art.solid(piece, art.varied(meat), 0.15, gloss=0.35)
    if art.chance(0.5):
        kind = art.one_of(REDS + GREENS + PALE[3:])
        for x, y in art.scatter(art.whole(3, 7), 0.7):
            strip = art.blob(x, y, 0.16, 0.05, 0.2, art.angle(), 10)
            art.solid(strip, art.varied(kind), 0.05, gloss=0)
