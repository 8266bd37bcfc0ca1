"""The classes: name, and how to draw one of its figures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from tools.pretrain.arrangements import LAYOUTS, draw_arrangement
from tools.pretrain.contours import Contour, draw_contour, inside
from tools.pretrain.fields import Figure, Rng, edge, pose
from tools.pretrain.fractals import draw_fractal
from tools.pretrain.strokes import BUNDLES, draw_strokes
from tools.pretrain.textures import TEXTURES, draw_texture

_FRACTALS = 16
_HARMONICS = ((2, 5), (3, 7), (5, 11), (8, 19))
_SHAPES: dict[str, Contour] = {
    "triangle": Contour(kind="polygon", order=3),
    "square": Contour(kind="polygon", order=4),
    "star_4": Contour(kind="star", order=4),
    "star_5": Contour(kind="star", order=5),
    "petals_3": Contour(kind="petals", order=3),
    "petals_5": Contour(kind="petals", order=5),
    "gear_9": Contour(kind="gear", order=9),
    "disc": Contour(kind="superellipse", order=2),
    "cushion": Contour(kind="superellipse", order=4),
    "pinched": Contour(kind="superellipse", order=1),
    "crescent": Contour(kind="crescent", order=0),
    "ring": Contour(kind="ring", order=0),
    "drop": Contour(kind="drop", order=0),
    "cross": Contour(kind="cross", order=0),
}
_NESTED = ("triangle", "square", "star_5", "petals_5", "disc", "crescent")
# What an arrangement is made of is drawn anew for each picture.
_ELEMENTS = {
    "round": ("disc", "disc", "ring", "crescent"),
    "angular": ("square", "triangle", "star"),
}
_COATED = ("disc", "square", "star_5", "ring")
_COATS = ("lines", "dots_shifted", "labyrinth_low", "cells_many")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureClass:
    """A class of pictures.

    Attributes:
      name: family/member.
      draw: a figure, from a generator and the side in pixels.
    """

    name: str
    draw: Callable[[Rng, int], Figure]


def _draw_coated(rng: Rng, px: int, contour: Contour, texture: str) -> Figure:
    """A shape with a texture on it."""
    x, y = pose(rng, px, scale=(0.6, 0.95))
    depth = inside(contour, rng, x, y)
    coat = draw_texture(rng, px, texture)
    ramp = np.clip(depth, 0, 1)
    return Figure(
        alpha=edge(depth, px),
        value=coat.value,
        height=coat.height + rng.uniform(0, 0.5) * np.sqrt(ramp),
    )


@functools.cache
def picture_classes() -> tuple[PictureClass, ...]:
    """All classes, in the order of their labels."""
    found: dict[str, Callable[[Rng, int], Figure]] = {}
    partial = functools.partial
    for number in range(_FRACTALS):
        found[f"fractal/{number}"] = partial(draw_fractal, number=number)
    for first, second in _HARMONICS:
        contour = Contour(kind="harmonic", order=first, second=second)
        for fill in ("solid", "nested"):
            found[f"harmonic/{first}_{second}_{fill}"] = partial(
                draw_contour, contour=contour, fill=fill
            )
    for name, contour in _SHAPES.items():
        found[f"shape/{name}"] = partial(
            draw_contour, contour=contour, fill="solid"
        )
    for name in _NESTED:
        for fill in ("outline", "nested"):
            found[f"shape/{name}_{fill}"] = partial(
                draw_contour, contour=_SHAPES[name], fill=fill
            )
    for name in TEXTURES:
        found[f"texture/{name}"] = partial(draw_texture, name=name)
    for name in BUNDLES:
        found[f"strokes/{name}"] = partial(draw_strokes, name=name)
    for layout in LAYOUTS:
        for manner, elements in _ELEMENTS.items():
            found[f"arrangement/{layout}_{manner}"] = partial(
                draw_arrangement, elements=elements, layout=layout
            )
    for name in _COATED:
        for texture in _COATS:
            found[f"coated/{name}_{texture}"] = partial(
                _draw_coated, contour=_SHAPES[name], texture=texture
            )
    return tuple(PictureClass(name=n, draw=d) for n, d in found.items())


def draw_picture(seed: int, k: int, px: int) -> tuple[np.ndarray, int]:
    """Picture k of a seed, and its label: a pure function.

    Args:
      seed: not negative.
      k: not negative; its label is k modulo the number of classes.
      px: side of the picture.

    Returns:
      uint8 (px, px, 3), and the index into `picture_classes`.
    """
    from tools.pretrain.colours import photograph

    classes = picture_classes()
    label = k % len(classes)
    rng = np.random.default_rng([seed, k])
    return photograph(rng, px, classes[label].draw(rng, px)), label
