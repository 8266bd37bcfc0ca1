"""Parses --background."""

from __future__ import annotations

import re

from trainer.config.fields import OFF
from trainer.errors import UsageError

Colour = tuple[int, int, int]
_NAMED: dict[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0)}
_HEX = re.compile(r"[0-9a-fA-F]{6}")


def parse_background(value: str | None) -> Colour | None:
    """Returns the colour behind transparent pixels, RGB in 0..255.

    Args:
      value: white, black, six hexadecimal digits such as f0f0f0; off or None
        for no colour.

    Raises:
      UsageError: the value is illegal.
    """
    if value in (None, OFF):
        return None
    assert value is not None
    if value in _NAMED:
        return _NAMED[value]
    if not _HEX.fullmatch(value):
        raise UsageError(
            f"--background={value!r}: not a colour; give white, black, six"
            " hexadecimal digits (RRGGBB) such as f0f0f0, or off"
        )
    red, green, blue = bytes.fromhex(value)
    return red, green, blue
