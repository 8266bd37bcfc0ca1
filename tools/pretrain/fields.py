"""Scalar fields over a picture: coordinates, noise, blur, edges.

A field is float32 (px, px). Coordinates run from -1 to 1 over the picture.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

Field = np.ndarray
Rng = np.random.Generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """What a class draws, before it has colours.

    Attributes:
      alpha: in [0, 1]; 0 where the background shows.
      value: the position on the figure's palette, about [0, 1]; what lies
        outside is clipped when it is painted.
      height: the relief that the light falls on, in units of half a picture.
    """

    alpha: Field
    value: Field
    height: Field


@functools.cache
def grid(px: int) -> tuple[Field, Field]:
    """x (to the right) and y (down) at the pixels' middles."""
    line = (np.arange(px, dtype=np.float32) + 0.5) * (2.0 / px) - 1.0
    x, y = np.meshgrid(line, line)
    return x, y


def pose(
    rng: Rng,
    px: int,
    *,
    scale: tuple[float, float] = (0.55, 0.95),
    shift: float = 0.25,
    squeeze: float = 0.25,
) -> tuple[Field, Field]:
    """Coordinates of a figure of unit radius, placed at random.

    Args:
      rng: where, how large and how turned.
      px: side of the picture.
      scale: range of the figure's radius.
      shift: its middle moves by up to this in x and y.
      squeeze: its width and height are up to this much smaller.
    """
    x, y = grid(px)
    turn = rng.uniform(0, 2 * math.pi)
    tilt = rng.uniform(0, math.pi)
    radius = rng.uniform(*scale)
    dx, dy = rng.uniform(-shift, shift, 2)
    narrow = rng.uniform(1 - squeeze, 1)
    # Turn, then squeeze along an axis of its own, as a tilted plate is seen.
    first = np.array(
        [
            [math.cos(tilt), math.sin(tilt)],
            [-math.sin(tilt) / narrow, math.cos(tilt) / narrow],
        ]
    )
    second = np.array(
        [
            [math.cos(turn), -math.sin(turn)],
            [math.sin(turn), math.cos(turn)],
        ]
    )
    matrix = (second @ first / radius).astype(np.float32)
    x, y = x - np.float32(dx), y - np.float32(dy)
    return (
        matrix[0, 0] * x + matrix[0, 1] * y,
        matrix[1, 0] * x + matrix[1, 1] * y,
    )


@functools.cache
def frequencies(px: int) -> tuple[Field, Field, Field]:
    """fx, fy and their length in cycles a picture, laid out as rfft2 does."""
    fx = np.fft.rfftfreq(px, 1 / px).astype(np.float32)[None, :]
    fy = np.fft.fftfreq(px, 1 / px).astype(np.float32)[:, None]
    return fx, fy, np.sqrt(fx * fx + fy * fy)


def filtered(rng: Rng, px: int, transfer: Field) -> Field:
    """White noise through a filter: mean 0, standard deviation 1."""
    white = rng.standard_normal((px, px), np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * transfer, (px, px))
    field -= field.mean()
    return (field / (field.std() + 1e-9)).astype(np.float32)


def band(rng: Rng, px: int, cycles: float, width: float = 0.25) -> Field:
    """Isotropic noise around a frequency, in cycles a picture."""
    length = frequencies(px)[2]
    octaves = np.log2(np.maximum(length, 0.5) / cycles) / width
    return filtered(rng, px, np.exp(-0.5 * octaves * octaves))


def oriented(
    rng: Rng, px: int, cycles: float, angle: float, width: float = 0.35
) -> Field:
    """Noise around one frequency and direction."""
    fx, fy, _ = frequencies(px)
    u, v = cycles * math.cos(angle), cycles * math.sin(angle)
    spread = 2 * (width * cycles) ** 2
    # Both halves of the plane: the field is real.
    near = np.exp(-((fx - u) ** 2 + (fy - v) ** 2) / spread)
    far = np.exp(-((fx + u) ** 2 + (fy + v) ** 2) / spread)
    return filtered(rng, px, near + far)


def pink(rng: Rng, px: int, slope: float = 1.6) -> Field:
    """Noise whose amplitude falls with frequency to the power `slope`."""
    return filtered(rng, px, np.maximum(frequencies(px)[2], 1.0) ** -slope)


def blur(field: Field, sigma_px: float) -> Field:
    """Gaussian blur, the picture taken as periodic."""
    px = field.shape[0]
    length = frequencies(px)[2]
    transfer = np.exp(-2 * (math.pi * sigma_px / px * length) ** 2)
    return np.fft.irfft2(np.fft.rfft2(field) * transfer, (px, px)).astype(
        np.float32
    )


def edge(inside: Field, px: int, radius: float = 0.75) -> Field:
    """Alpha of the region where `inside` is positive, about a pixel soft.

    Args:
      inside: grows by about 1 / radius for a unit of picture coordinates.
      px: side of the picture.
      radius: of the figure in the picture.
    """
    return np.clip(inside * (0.5 * px * radius) + 0.5, 0.0, 1.0)


def squash(field: Field) -> Field:
    """Anything, to [0, 1]."""
    return 0.5 + 0.5 * np.tanh(field)


def rescale(field: Field) -> Field:
    """To [0, 1], linearly."""
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)
