"""Label cells of a table in which an image may have several labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from trainer.data.samples import SEPARATOR
from trainer.errors import shortened

# What other programs write between labels.
_OTHER_SEPARATORS = (";", ",")


def label_set(cell: str) -> tuple[str, str]:
    """Returns the labels of a cell, sorted and joined, and what is wrong.

    Args:
      cell: `cat|outdoor`, with or without spaces around a label; empty for an
        image without labels.

    Returns:
      The labels as in `Samples.label_names`, and ""; or "" and the reason why
      the cell cannot be used.
    """
    labels = [part.strip() for part in cell.split(SEPARATOR)] if cell else []
    if "" in labels:
        return "", f"an empty label in {shortened(repr(cell))}"
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        return "", f"label {shortened(repr(twice[0]))} twice"
    return SEPARATOR.join(sorted(labels)), ""


def label_matrix(
    sets: Sequence[str], used: Collection[int]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the class names, and the classes of each set of labels.

    Args:
      sets: n sets, as `label_set` returns them.
      used: the numbers of the sets that usable rows have.

    Returns:
      The sorted names, and uint8 (n, classes), 1 for each class of a set; only
      zeros for a set that is not used.
    """
    parts = {n: sets[n].split(SEPARATOR) for n in used if sets[n]}
    names = tuple(
        sorted({label for labels in parts.values() for label in labels})
    )
    of_name = {name: number for number, name in enumerate(names)}
    matrix = np.zeros((len(sets), len(names)), np.uint8)
    for number, labels in parts.items():
        matrix[number, [of_name[label] for label in labels]] = 1
    return names, matrix


def other_separator(sets: Collection[str]) -> tuple[str, str] | None:
    """Returns a label and the separator that it probably has.

    Args:
      sets: the sets that usable rows have.

    Returns:
      None if any image has several labels, or no label has a semicolon or a
      comma.
    """
    if any(SEPARATOR in labels for labels in sets):
        return None
    for separator in _OTHER_SEPARATORS:
        for label in sorted(sets):
            if separator in label:
                return label, separator
    return None
