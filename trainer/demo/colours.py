"""Colours of food and tableware. No dish has one that no other has."""

from __future__ import annotations

from trainer.demo.draws import Draws

Colour = tuple[int, int, int]

CRUSTS: tuple[Colour, ...] = (
    (206, 150, 84),
    (182, 118, 58),
    (224, 178, 112),
    (150, 92, 44),
)
BROWNS: tuple[Colour, ...] = (
    (120, 70, 42),
    (92, 54, 36),
    (150, 84, 44),
    (78, 50, 40),
    (168, 100, 56),
)
GLAZES: tuple[Colour, ...] = (
    (188, 84, 30),
    (160, 60, 28),
    (206, 128, 50),
    (136, 74, 40),
    (214, 150, 76),
)
SAUCES: tuple[Colour, ...] = (
    (206, 134, 40),
    (184, 86, 34),
    (150, 66, 36),
    (216, 170, 72),
    (136, 96, 50),
    (128, 140, 62),
)
BROTHS: tuple[Colour, ...] = (
    (190, 130, 64),
    (226, 204, 164),
    (150, 84, 40),
    (190, 70, 36),
    (112, 70, 42),
)
PALE: tuple[Colour, ...] = (
    (240, 232, 214),
    (236, 220, 180),
    (246, 242, 234),
    (228, 208, 158),
)
GREENS: tuple[Colour, ...] = (
    (74, 128, 48),
    (108, 158, 62),
    (48, 96, 44),
    (140, 176, 84),
)
REDS: tuple[Colour, ...] = ((190, 48, 36), (206, 72, 50), (160, 36, 40))
CREAMS: tuple[Colour, ...] = (
    (246, 234, 200),
    (240, 176, 188),
    (120, 76, 54),
    (176, 212, 160),
    (206, 160, 106),
    (244, 214, 120),
    (168, 92, 130),
    (232, 226, 222),
)
FISH: tuple[Colour, ...] = (
    (236, 130, 92),
    (226, 150, 116),
    (206, 70, 70),
    (240, 214, 196),
    (232, 166, 110),
)
CHINA: tuple[Colour, ...] = (
    (240, 240, 238),
    (226, 220, 206),
    (60, 62, 66),
    (90, 120, 150),
    (150, 90, 62),
    (120, 138, 112),
    (196, 170, 130),
    (32, 36, 48),
)
TABLES: tuple[Colour, ...] = (
    (150, 104, 66),
    (96, 64, 44),
    (196, 158, 112),
    (222, 218, 210),
    (70, 74, 80),
    (130, 132, 134),
    (160, 60, 56),
    (70, 100, 130),
    (80, 116, 84),
    (226, 206, 160),
    (42, 40, 42),
)


def clipped(red: float, green: float, blue: float) -> Colour:
    """Rounded, and within 0..255."""
    r, g, b = (max(0, min(255, round(c))) for c in (red, green, blue))
    return r, g, b


def scaled(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter above."""
    r, g, b = colour
    return clipped(r * factor, g * factor, b * factor)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`share` is the other's, 0 to 1."""
    a, b = 1 - share, share
    return clipped(
        a * one[0] + b * other[0],
        a * one[1] + b * other[1],
        a * one[2] + b * other[2],
    )


def varied(draws: Draws, colour: Colour, spread: float = 0.12) -> Colour:
    """Another brightness by up to `spread`, and a slightly other hue."""
    k = 1 + draws.near(0, spread)
    r, g, b = (c * k * (1 + draws.near(0, spread / 3)) for c in colour)
    return clipped(r, g, b)


def one_of(
    draws: Draws, colours: tuple[Colour, ...], spread: float = 0.12
) -> Colour:
    """Any of them, varied."""
    return varied(draws, draws.pick(colours), spread)
