"""Pads names to the same width, for columns of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_WIDE = ("F", "W")
# Combining marks and format characters take no column of their own.
_NO_WIDTH = ("Mn", "Me", "Cf")


def padded(texts: Sequence[str]) -> list[str]:
    """Returns the texts with spaces behind, all as wide as the widest.

    Args:
      texts: one for each line of a column, from `for_terminal`; they may
        contain Chinese or Japanese characters, which take two columns.
    """
    widths = [_columns(text) for text in texts]
    return [
        text + " " * (max(widths) - width)
        for text, width in zip(texts, widths, strict=True)
    ]


def _columns(text: str) -> int:
    """Returns the number of columns that a terminal shows a text in."""
    return sum(
        1 + (unicodedata.east_asian_width(character) in _WIDE)
        for character in text
        if unicodedata.category(character) not in _NO_WIDTH
    )
