"""Textures that fill the picture.

A texture is told by its structure. Direction, place and, within a range, the
scale vary inside a class, and so does a slow bending of the plane.
"""

from __future__ import annotations

import numpy as np

from tools.pretrain.fields import Figure, Rng
from tools.pretrain.irregular import IRREGULAR
from tools.pretrain.periodic import PERIODIC, Texture

TEXTURES: dict[str, Texture] = {**PERIODIC, **IRREGULAR}


def draw_texture(rng: Rng, px: int, name: str) -> Figure:
    """One of the pictures of a class of textures, over the whole picture."""
    value = np.clip(TEXTURES[name](rng, px), 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        value = 1 - value
    # Often with relief, so that light and not the palette shows it.
    depth = rng.uniform(0, 0.12) * (rng.random() < 0.7)
    return Figure(
        alpha=np.ones((px, px), np.float32), value=value, height=depth * value
    )
