"""Folders in memory, given as lists of files, and their layouts."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.config.split_names import SplitNames
from trainer.data.layout import find_layout
from trainer.data.layout_names import Layout


class Tree:
    """A folder in memory; every file is an image unless it ends in .txt."""

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        """Creates the folder of these paths."""
        self.name = name
        inside: dict[str, list[str]] = {}
        for path in paths:
            first, slash, rest = path.partition("/")
            if slash:
                inside.setdefault(first, []).append(rest)
        self.folders = [Tree(n, inside[n]) for n in sorted(inside)]
        self.has_images = any(
            path and "/" not in path and not path.endswith(".txt")
            for path in paths
        )


def expanded(*patterns: str) -> list[str]:
    """Expands `{a,b}/{c,d}/1` to four paths."""
    done: list[str] = []
    for pattern in patterns:
        head, brace, rest = pattern.partition("{")
        if not brace:
            done.append(pattern)
            continue
        choices, _, tail = rest.partition("}")
        done += expanded(*(f"{head}{x}{tail}" for x in choices.split(",")))
    return done


def layout_of(*patterns: str, **names: str) -> Layout:
    """Returns the layout of the files that `expanded` gives."""
    return find_layout(Tree("", expanded(*patterns)), SplitNames(**names))


def shown(layout: Layout) -> dict[str, str]:
    """Returns each split's folder and class folders, such as `train: a b`."""
    return {
        split: f"{at.path}: {' '.join(name for name, _ in at.classes)}"
        for split, at in layout.splits.items()
    }
