"""The scene: a dish on a table, with objects around it and in front."""

from __future__ import annotations

from trainer.demo.colours import CHINA, TABLES
from trainer.demo.dishes import DISHES, UPRIGHT
from trainer.demo.garnish import crumbs
from trainer.demo.painter import Painter, View
from trainer.demo.shapes import box, capsule, polar
from trainer.demo.tableware import cutlery, glass, napkin, table


def paint_scene(art: Painter, name: str) -> None:
    """Paints the whole image of the dish with this name."""
    art.view = View(0.5, 0.5, 0.5, art.angle())
    table(art)
    upright = name in UPRIGHT
    tilt = 1.0 if upright else art.uniform(0.6, 1.0)
    if art.chance(0.2):
        _neighbour(art, tilt)
    x, y = 0.5 + art.near(0, 0.16), 0.5 + art.near(0, 0.14)
    angle = art.near(0, 0.45) if upright else art.angle()
    scale = art.uniform(0.3, 0.45)
    if art.chance(0.2):
        scale = art.uniform(0.45, 0.58)
    art.view = View(x, y, scale, angle, tilt)
    if not upright:
        for paint in (napkin, cutlery, glass, crumbs):
            if art.chance(0.3):
                paint(art)
    DISHES[name](art)
    _before(art)


def _neighbour(art: Painter, tilt: float) -> None:
    """Paints a second dish, mostly outside the image."""
    names = [name for name in DISHES if name not in UPRIGHT]
    turn = art.angle()
    x, y = polar(0.5, 0.5, art.uniform(0.62, 0.8), turn)
    art.view = View(x, y, art.uniform(0.2, 0.3), art.angle(), tilt)
    DISHES[art.pick(names)](art)


def _before(art: Painter) -> None:
    """Paints objects between the dish and the camera."""
    art.view = View(0.5, 0.5, 0.5)
    if art.chance(0.12):
        for x, y in art.scatter(art.whole(2, 5), 0.7):
            r = art.uniform(0.2, 0.5)
            steam = art.blob(x, y, r * 0.6, r, 0.3)
            art.fill(steam, (255, 255, 255), opacity=0.15)
    if art.chance(0.15):
        turn = art.angle()
        x, y = polar(0, 0, art.uniform(0.75, 1.1), turn)
        r = art.uniform(0.2, 0.5)
        near = art.blob(x, y, r, r * art.uniform(0.5, 1), 0.3)
        art.fill(near, art.one_of(CHINA + TABLES))
    if art.chance(0.08):
        x, y = art.in_disc(0.5)
        handle = capsule(x, y, 3, art.uniform(0.06, 0.12), art.angle())
        art.shadow(handle, 0.08)
        art.fill(handle, art.one_of(CHINA + TABLES))
    if art.chance(0.06):
        x, y = art.in_disc(0.8)
        glare = box(x, y, 3, art.uniform(0.1, 0.3), art.angle())
        art.fill(glare, (255, 255, 250), opacity=0.35)
