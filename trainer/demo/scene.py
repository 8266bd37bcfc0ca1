"""A dish on its table, among what stands about, in somebody's light."""

from __future__ import annotations

import math

from trainer.demo import tableware
from trainer.demo.canvas import Canvas, View
from trainer.demo.colours import CHINA, TABLES, one_of
from trainer.demo.dishes import DISHES, UPRIGHT
from trainer.demo.draws import Draws
from trainer.demo.garnish import crumbs
from trainer.demo.shapes import blob, box, capsule


def paint_scene(canvas: Canvas, draws: Draws, name: str) -> None:
    """Paints a whole picture of the dish of that name."""
    canvas.view = View(0.5, 0.5, 0.5, draws.angle())
    tableware.table(canvas, draws)
    upright = name in UPRIGHT
    tilt = 1.0 if upright else draws.uniform(0.6, 1.0)
    if draws.chance(0.2):
        _neighbour(canvas, draws, tilt)
    x, y = 0.5 + draws.near(0, 0.16), 0.5 + draws.near(0, 0.14)
    angle = draws.near(0, 0.45) if upright else draws.angle()
    scale = draws.uniform(0.3, 0.45)
    if draws.chance(0.2):
        scale = draws.uniform(0.45, 0.58)
    view = View(x, y, scale, angle, tilt)
    if not upright:
        canvas.view = view
        for paint in (
            tableware.napkin,
            tableware.cutlery,
            tableware.glass,
            crumbs,
        ):
            if draws.chance(0.3):
                paint(canvas, draws)
    canvas.view = view
    DISHES[name](canvas, draws)
    _before(canvas, draws)


def _neighbour(canvas: Canvas, draws: Draws, tilt: float) -> None:
    """Another dish, for the most part outside the picture."""
    names = [name for name in DISHES if name not in UPRIGHT]
    turn = draws.angle()
    reach = draws.uniform(0.62, 0.8)
    canvas.view = View(
        0.5 + reach * math.cos(turn),
        0.5 + reach * math.sin(turn),
        draws.uniform(0.2, 0.3),
        draws.angle(),
        tilt,
    )
    DISHES[draws.pick(names)](canvas, draws)


def _before(canvas: Canvas, draws: Draws) -> None:
    """What comes between the dish and the camera."""
    canvas.view = View(0.5, 0.5, 0.5)
    if draws.chance(0.12):
        for _ in range(draws.whole(2, 5)):
            x, y = draws.in_disc(0.7)
            r = draws.uniform(0.2, 0.5)
            steam = blob(draws, x, y, r * 0.6, r, 0.3)
            canvas.fill(steam, (255, 255, 255), opacity=0.15)
    if draws.chance(0.15):
        turn = draws.angle()
        reach = draws.uniform(0.75, 1.1)
        x, y = reach * math.cos(turn), reach * math.sin(turn)
        r = draws.uniform(0.2, 0.5)
        near = blob(draws, x, y, r, r * draws.uniform(0.5, 1), 0.3)
        canvas.fill(near, one_of(draws, CHINA + TABLES))
    if draws.chance(0.08):
        x, y = draws.in_disc(0.5)
        handle = capsule(x, y, 3, draws.uniform(0.06, 0.12), draws.angle())
        canvas.shadow(handle, 0.08)
        canvas.fill(handle, one_of(draws, CHINA + TABLES))
    if draws.chance(0.06):
        x, y = draws.in_disc(0.8)
        glare = box(x, y, 3, draws.uniform(0.1, 0.3), draws.angle())
        canvas.fill(glare, (255, 255, 250), opacity=0.35)
