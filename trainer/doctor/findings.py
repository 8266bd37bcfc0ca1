"""Decides which images of a data set deserve a look.

Pure functions of arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainer.doctor.looks import Looks

UNREADABLE, BLANK, TINY, ASPECT = "unreadable", "blank", "tiny", "aspect"
DARK, BRIGHT, GREY = "dark", "bright", "grey"
EXACT_ACROSS, EXACT_WITHIN = "exact_across_splits", "exact_within_split"
NEAR_ACROSS, NEAR_WITHIN = "near_across_splits", "near_within_split"
CONTRADICTION, SUSPECT = "contradiction", "suspect"
# What is shown for each kind, in the order of the report.
TITLES = {
    UNREADABLE: "cannot be read",
    BLANK: "blank",
    TINY: "tiny",
    ASPECT: "extreme aspect ratio",
    DARK: "nearly black",
    BRIGHT: "nearly white",
    GREY: "grey among colour",
    CONTRADICTION: "same image, other label",
    EXACT_ACROSS: "same image, other split",
    EXACT_WITHIN: "same image, same split",
    NEAR_ACROSS: "near copy, other split",
    NEAR_WITHIN: "near copy, same split",
    SUSPECT: "suspect label",
}
# Bounds of grey levels in [0, 255], of pixels and of a ratio.
_BLANK_CONTRAST, _DARK, _BRIGHT, _GREY_COLOUR = 3.0, 16.0, 239.0, 6.0
_TINY_PX, _ASPECT = 32, 4.0
# Grey images are a finding only where they are few.
_GREY_SHARE = 0.05
# The copy of a group that the list keeps is of the first of these splits, so
# that results stay comparable.
_KEPT_FIRST = ("test", "validation", "train")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about one image.

    Attributes:
      kind: a key of `TITLES`.
      row: number of the sample; -1 if its image cannot be read.
      detail: what was found, such as `12 x 300 pixels`.
      other: number of the sample that it is a copy of; -1 for none.
    """

    kind: str
    row: int
    detail: str
    other: int = -1


def pixel_findings(looks: Looks) -> Iterator[Finding]:
    """Yields what is unusual about the pixels of images, by kind."""
    wide, high = looks.widths, looks.heights
    blank = is_blank(looks)
    grey = (looks.colour < _GREY_COLOUR) & ~blank
    if grey.sum() > _GREY_SHARE * len(grey):
        grey[:] = False
    ratio = np.maximum(wide, high) / np.maximum(np.minimum(wide, high), 1)
    tests = (
        (BLANK, blank),
        (TINY, np.minimum(wide, high) < _TINY_PX),
        (ASPECT, ratio > _ASPECT),
        (DARK, (looks.brightness < _DARK) & ~blank),
        (BRIGHT, (looks.brightness > _BRIGHT) & ~blank),
        (GREY, grey),
    )
    for kind, found in tests:
        for row in np.flatnonzero(found).tolist():
            detail = f"{wide[row]} x {high[row]} pixels"
            if kind in (BLANK, DARK, BRIGHT):
                detail = f"mean grey level {looks.brightness[row]:.0f}"
            yield Finding(kind=kind, row=row, detail=detail)


def is_blank(looks: Looks) -> np.ndarray:
    """Returns bool (n,), whether an image has barely more than one level."""
    return looks.contrast < _BLANK_CONTRAST


def equal_pairs(digests: Sequence[str]) -> np.ndarray:
    """Returns int64 (m, 2), each image with the first one of equal bytes."""
    first: dict[str, int] = {}
    pairs = [
        (first.setdefault(digest, row), row)
        for row, digest in enumerate(digests)
    ]
    found = [pair for pair in pairs if pair[0] != pair[1]]
    return np.array(found, np.int64).reshape(-1, 2)


def groups_of(count: int, pairs: np.ndarray) -> np.ndarray:
    """Returns the group of each image: those that pairs connect.

    Args:
      count: number of images.
      pairs: int (m, 2), indices of images.

    Returns:
      int (n,), numbered from 0.
    """
    ones = np.ones(len(pairs), bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1]


def copy_findings(
    exact: np.ndarray,
    near: np.ndarray,
    labels: np.ndarray,
    splits: Sequence[str],
    class_names: Sequence[str],
) -> Iterator[Finding]:
    """Yields the copies of each group but the one to keep, by kind.

    If the images of a group have several labels, all of them are findings,
    because no label can be trusted.

    Args:
      exact: int (n,), the group of each image of equal bytes.
      near: int (n,), the group of each image that looks alike; it contains
        the image's group of equal bytes.
      labels: int (n,).
      splits: the split of each image.
      class_names: in the order of the labels.
    """
    rank = np.array([_KEPT_FIRST.index(split) for split in splits])
    for members in _several(near):
        rows = members[np.lexsort((members, rank[members]))]
        contradicting = len(set(labels[rows].tolist())) > 1
        kept = int(rows[0])
        for row in rows[0 if contradicting else 1 :].tolist():
            # An exact copy of any image of the group says more than a near one.
            same = rows[(exact[rows] == exact[row]) & (rows != row)]
            others = same if len(same) else rows[rows != row]
            other = int(others[0])
            if contradicting:
                unlike = rows[labels[rows] != labels[row]]
                other = int(unlike[0])
                kind = CONTRADICTION
                detail = f"also labelled {class_names[labels[other]]}"
            else:
                if not len(same):
                    other = kept
                across = any(splits[i] != splits[row] for i in rows.tolist())
                kind = _copy_kind(len(same) > 0, across)
                detail = f"copy in {splits[other]}"
            yield Finding(kind=kind, row=row, detail=detail, other=other)


def _copy_kind(is_exact: bool, across: bool) -> str:
    if is_exact:
        return EXACT_ACROSS if across else EXACT_WITHIN
    return NEAR_ACROSS if across else NEAR_WITHIN


def _several(groups: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images of each group that has at least two."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if len(members) > 1:
            yield members
