"""Chooses fonts that have the characters of class names."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from trainer.results.escaping import for_plot

# Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and others.
_DEFAULT = "DejaVu Sans"
# Fonts with many characters, tried before all others.
_PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans",
    "WenQuanYi",
    "Droid Sans Fallback",
    "PingFang",
    "Hiragino",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode",
    "Noto Sans",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlotLabels:
    """How to draw names in a chart.

    Attributes:
      texts: the label of each name: the name, or its number, from 1, if no
        font on this machine has all of its characters.
      families: the fonts to draw the labels with, for `font.family`.
      legend: the numbers that are drawn instead of a name, with the names.
    """

    texts: tuple[str, ...]
    families: tuple[str, ...]
    legend: Mapping[str, str]


def plot_labels(names: Sequence[str]) -> PlotLabels:
    """Returns the labels of names in a chart.

    Args:
      names: any text; see `escaping.for_plot`.
    """
    shown = [for_plot(name) for name in names]
    missing = set("".join(shown)) - _characters(_default_file())
    families = [_DEFAULT]
    if missing:
        for family, path in _font_files():
            found = missing & _characters(path)
            if found:
                families.append(family)
                missing -= found
            if not missing:
                break
    texts = [
        str(number) if missing & set(text) else text
        for number, text in enumerate(shown, 1)
    ]
    return PlotLabels(
        texts=tuple(texts),
        families=tuple(families),
        legend={
            text: name
            for text, known, name in zip(texts, shown, names, strict=True)
            if text != known
        },
    )


def _default_file() -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(_DEFAULT))


@functools.cache
def _font_files() -> tuple[tuple[str, str], ...]:
    """Returns the name and the file of each upright font of normal weight."""
    from matplotlib import font_manager

    found = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal")
    }

    def rank(name: str) -> tuple[int, str]:
        ranks = (i for i, p in enumerate(_PREFERRED) if name.startswith(p))
        return next(ranks, len(_PREFERRED)), name

    return tuple((name, found[name]) for name in sorted(found, key=rank))


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """Returns the characters of a font; none if it cannot be read."""
    from matplotlib import ft2font

    try:
        return frozenset(map(chr, ft2font.FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        # Such as a font of coloured bitmaps.
        return frozenset()
