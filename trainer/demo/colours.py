"""Colours of food and tableware. Every colour is used by several dishes."""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[int, int, int]


class Colour(NamedTuple):
    """An RGB colour, each channel in 0..255."""

    red: int
    green: int
    blue: int

    def scaled(self, factor: float) -> Colour:
        """Returns the colour darkened (factor below 1) or lightened."""
        return clipped(*(factor * c for c in self))

    def mixed(self, other: RGB, share: float) -> Colour:
        """Returns a mixture with a `share` of `other`, in 0..1."""
        own = 1 - share
        pairs = zip(self, other, strict=True)
        return clipped(*(own * a + share * b for a, b in pairs))


def clipped(red: float, green: float, blue: float) -> Colour:
    """Returns the channels rounded and limited to 0..255."""
    return Colour(*(max(0, min(255, round(c))) for c in (red, green, blue)))


def _palette(codes: str) -> tuple[Colour, ...]:
    """Parses colours written as RRGGBB, separated by spaces."""
    return tuple(Colour(*bytes.fromhex(code)) for code in codes.split())


CRUSTS = _palette("ce9654 b6763a e0b270 965c2c")
BROWNS = _palette("78462a 5c3624 96542c 4e3228 a86438")
GLAZES = _palette("bc541e a03c1c ce8032 884a28 d6964c")
SAUCES = _palette("ce8628 b85622 964224 d8aa48 886032 808c3e")
BROTHS = _palette("be8240 e2cca4 965428 be4624 70462a")
PALE = _palette("f0e8d6 ecdcb4 f6f2ea e4d09e")
GREENS = _palette("4a8030 6c9e3e 30602c 8cb054")
REDS = _palette("be3024 ce4832 a02428")
CREAMS = _palette("f6eac8 f0b0bc 784c36 b0d4a0 cea06a f4d678 a85c82 e8e2de")
FISH = _palette("ec825c e29674 ce4646 f0d6c4 e8a66e")
CHINA = _palette("f0f0ee e2dcce 3c3e42 5a7896 965a3e 788a70 c4aa82 202430")
TABLES = _palette(
    "966842 60402c c49e70 dedad2 464a50 828486 a03c38 466482 507454 e2cea0"
    " 2a282a"
)
