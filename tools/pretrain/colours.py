"""Colours, light and the camera: from a figure to a picture.

Every class draws its colours from the same distribution, so that colours
alone tell no class from another.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from tools.pretrain.contours import Contour, inside
from tools.pretrain.fields import (
    Field,
    Figure,
    Rng,
    band,
    blur,
    edge,
    grid,
    oriented,
    pink,
    pose,
    squash,
)

_LEVELS = 64
# Mean distance of two palettes, of 255, that keeps a figure visible.
_CONTRAST = 60.0


def palette(rng: Rng) -> np.ndarray:
    """float32 (64, 3) in 0..255: colours from one end to the other.

    Narrow in hue or wide, dull or vivid, dark to light or not.
    """
    stops = int(rng.integers(2, 6))
    # Half of the palettes are warm, as most of what people photograph is: it
    # is there that a backbone must tell shades apart.
    hue = rng.random() if rng.random() < 0.5 else rng.normal(0.07, 0.06)
    width = rng.choice([0.04, 0.12, 0.4])
    vivid = rng.uniform(0.0, 1.0)
    hues = hue + width * rng.normal(0, 1, stops)
    saturations = np.clip(vivid + rng.normal(0, 0.15, stops), 0, 1)
    values = rng.uniform(0.1, 1.0, stops)
    if rng.random() < 0.5:
        values.sort()
    rgb = np.array(
        [
            colorsys.hsv_to_rgb(h % 1.0, s, v)
            for h, s, v in zip(hues, saturations, values, strict=True)
        ]
    )
    at = np.linspace(0, 1, _LEVELS)
    where = np.linspace(0, 1, stops)
    return 255 * np.stack(
        [np.interp(at, where, channel) for channel in rgb.T], axis=1
    ).astype(np.float32)


def _two_palettes(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    front = palette(rng)
    back = palette(rng)
    for _ in range(8):
        if np.abs(front.mean(0) - back.mean(0)).mean() > _CONTRAST:
            break
        back = palette(rng)
    return front, back


def _painted(colours: np.ndarray, value: Field) -> np.ndarray:
    return colours[(value * (_LEVELS - 1) + 0.5).astype(np.int32)]


def background(rng: Rng, px: int) -> Field:
    """What lies behind a figure, in [0, 1]."""
    kind = rng.choice(6, p=[0.25, 0.25, 0.15, 0.12, 0.13, 0.1])
    x, y = grid(px)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = 0.5 + 0.35 * (math.cos(angle) * x + math.sin(angle) * y)
    if kind == 0:
        field = ramp
    elif kind == 1:
        field = squash(rng.uniform(0.3, 0.9) * pink(rng, px, 2.0))
    elif kind == 2:
        field = squash(0.6 * pink(rng, px, 1.2))
    elif kind == 3:
        field = squash(0.5 * oriented(rng, px, rng.uniform(4, 14), angle))
    elif kind == 4:
        field = squash(2 * band(rng, px, rng.uniform(2, 5)))
    else:
        cycles = rng.uniform(2, 8)
        field = 0.5 + 0.4 * np.sin(
            math.pi * cycles * (math.cos(angle) * x + math.sin(angle) * y)
        )
    # Most backgrounds use a part of their palette only.
    share = rng.uniform(0.2, 1.0)
    return np.clip(rng.uniform(0, 1 - share) + share * field, 0, 1)


def _lit(rng: Rng, height: Field, px: int) -> Field:
    """Lambertian shade of the relief, about 1, with some shine."""
    angle = rng.uniform(0, 2 * math.pi)
    slope_x, slope_y = np.zeros_like(height), np.zeros_like(height)
    slope_x[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * (px / 4)
    slope_y[1:-1] = (height[2:] - height[:-2]) * (px / 4)
    slant = slope_x * math.cos(angle) + slope_y * math.sin(angle)
    shade = 1 + rng.uniform(0.3, 0.9) * np.tanh(slant)
    if rng.random() < 0.4:
        shade = shade + rng.uniform(0.3, 1.0) * np.maximum(
            np.tanh(slant) - rng.uniform(0.3, 0.6), 0
        )
    return shade


def _clutter(rng: Rng, px: int, picture: np.ndarray) -> None:
    """Small plain shapes near the rim, over what is there."""
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, 2 * math.pi)
        x, y = pose(rng, px, scale=(0.12, 0.3), shift=0.0, squeeze=0.5)
        away = rng.uniform(0.75, 1.05) / 0.2
        x = x - np.float32(away * math.cos(angle))
        y = y - np.float32(away * math.sin(angle))
        order = int(rng.integers(3, 7))
        depth = inside(Contour(kind="polygon", order=order), rng, x, y)
        alpha = edge(depth, px, 0.2)[..., None]
        picture += alpha * (palette(rng)[32] - picture)


def photograph(rng: Rng, px: int, figure: Figure) -> np.ndarray:
    """The picture of a figure: uint8 (px, px, 3).

    Args:
      rng: palettes, light, clutter, shadow, blur and noise.
      px: side of the picture.
      figure: what to show.
    """
    front, back = _two_palettes(rng)
    value = figure.value
    if rng.random() < 0.5:
        # A grain of its own, so that no surface is perfectly plain.
        value = value + rng.uniform(0.03, 0.15) * pink(rng, px, 1.0)
    span = rng.uniform(0.5, 1.0)
    value = np.clip(rng.uniform(0, 1 - span) + span * value, 0, 1)
    picture = _painted(front, value)
    picture = picture * _lit(rng, figure.height, px)[..., None]
    alpha = figure.alpha
    if alpha.min() < 1:
        behind = _painted(back, background(rng, px))
        if rng.random() < 0.6:
            shift = tuple(int(s) for s in rng.integers(-4, 5, 2))
            shadow = np.roll(blur(alpha, rng.uniform(1, 4)), shift, (0, 1))
            behind = behind * (1 - rng.uniform(0.2, 0.6) * shadow[..., None])
        picture = behind + alpha[..., None] * (picture - behind)
    if rng.random() < 0.2:
        _clutter(rng, px, picture)
    return _exposed(rng, px, picture)


def _exposed(rng: Rng, px: int, picture: np.ndarray) -> np.ndarray:
    x, y = grid(px)
    angle, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.4)
    light = 1 + fall * (math.cos(angle) * x + math.sin(angle) * y)
    light = light * rng.uniform(0.85, 1.3)
    tint = rng.uniform(0.88, 1.12, 3).astype(np.float32)
    picture = picture * (light[..., None] * tint)
    if rng.random() < 0.35:
        sigma = rng.uniform(0.4, 1.2)
        picture = np.stack(
            [blur(picture[..., c], sigma) for c in range(3)], axis=2
        )
    if rng.random() < 0.5:
        noise = rng.standard_normal(picture.shape, np.float32)
        picture = picture + rng.uniform(1, 9) * noise
    return np.clip(picture, 0, 255).astype(np.uint8)
