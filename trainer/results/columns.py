"""Pads texts to the same width, for columns of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_WIDE = ("F", "W")
# Combining marks and format characters take no column of their own.
_NO_WIDTH = ("Mn", "Me", "Cf")


def padded(texts: Sequence[str], *, right: bool = False) -> list[str]:
    """Adds spaces to the texts, so that all are as wide as the widest.

    Args:
      texts: one for each line of a column, from `for_terminal`; they may
        contain Chinese or Japanese characters, which take two columns.
      right: whether to align the texts right, with the spaces before them.
    """
    widths = [_columns(text) for text in texts]
    widest = max(widths)
    spaces = [" " * (widest - width) for width in widths]
    first, second = (spaces, texts) if right else (texts, spaces)
    return [a + b for a, b in zip(first, second, strict=True)]


def _columns(text: str) -> int:
    """Returns the number of columns that a terminal shows a text in."""
    return sum(
        1 + (unicodedata.east_asian_width(character) in _WIDE)
        for character in text
        if unicodedata.category(character) not in _NO_WIDTH
    )
