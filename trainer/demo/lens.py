"""The effects of light and a camera on an image.

All arithmetic on pixels uses integers, because the last bits of floats differ
between machines.
"""

from __future__ import annotations

import numpy as np

from trainer.demo.draws import Draws


def photographed(draws: Draws, pixels: np.ndarray) -> np.ndarray:
    """Returns an image with camera effects, uint8 (n, n, 3)."""
    if draws.chance(0.5):
        pixels = pixels[:, ::-1]
    values = pixels.astype(np.int32)
    values = _blurred(draws, values)
    values = _lit(draws, values)
    values = _coloured(draws, values)
    values = _toned(draws, np.clip(values, 0, 255))
    grain = draws.pick((0, 1, 2, 3, 5, 9))
    noise = draws.noise(*values.shape).astype(np.int32)
    return np.clip(values + (noise * grain >> 7), 0, 255).astype(np.uint8)


def _blurred(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Applies defocus in up to three passes, or motion blur on one axis."""
    axes: tuple[int, ...] = (0, 1)
    passes = draws.pick((0, 0, 0, 0, 1, 1, 2, 3))
    if draws.chance(0.08):
        axes, passes = (draws.pick(axes),), 8
    for axis in axes:
        last = values.shape[axis] - 1
        place = np.arange(last + 1)
        before, after = np.maximum(place - 1, 0), np.minimum(place + 1, last)
        for _ in range(passes):
            sides = values.take(before, axis) + values.take(after, axis)
            values = (sides + 2 * values + 2) >> 2
    return values


def _lit(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Lights one side, darkens the corners, sometimes shades one half."""
    side = values.shape[0]
    place = 2 * np.arange(side, dtype=np.int32) - (side - 1)
    x, y = place[None, :], place[:, None]
    across, along = draws.whole(-5, 5), draws.whole(-5, 5)
    light = 1024 + across * x + along * y
    light = light - (x * x + y * y) * draws.whole(0, 16) // 1024
    if draws.chance(0.12):
        edge = draws.whole(-60, 60)
        shade = draws.sign() * x + draws.whole(-2, 2) * y > edge
        light = np.where(shade, light * 5 // 8, light)
    return values * light[:, :, None] >> 10


def _coloured(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Changes the saturation; some images become grey."""
    amount = 0 if draws.chance(0.03) else draws.whole(110, 300)
    grey = (77 * values[..., :1] + 150 * values[..., 1:2]) >> 8
    grey = grey + (29 * values[..., 2:] >> 8)
    return grey + ((values - grey) * amount >> 8)


def _toned(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Applies white balance, exposure, contrast and haze, by channel."""
    exposure = draws.near(1.1, 0.35)
    warmth, tint = draws.near(0, 0.27), draws.near(0, 0.15)
    gains = (1 + warmth, 1 + tint, 1 - warmth)
    gamma = draws.uniform(0.7, 1.35)
    haze = draws.pick((0, 0, 0, 15, 35))
    toned = np.empty_like(values)
    for channel, gain in enumerate(gains):
        table = []
        for i in range(256):
            level = min(1.0, exposure * gain * i / 255) ** gamma
            table.append(round(haze + (255 - haze) * level))
        toned[..., channel] = np.array(table, np.int32)[values[..., channel]]
    return toned
