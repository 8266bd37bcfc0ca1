"""Findings on small arrays, worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from trainer.doctor.findings import (
    ASPECT,
    BLANK,
    BRIGHT,
    CONTRADICTION,
    DARK,
    EXACT_ACROSS,
    EXACT_WITHIN,
    GREY,
    NEAR_ACROSS,
    NEAR_WITHIN,
    TINY,
    copy_findings,
    equal_pairs,
    groups_of,
    pixel_findings,
)
from trainer.doctor.looks import Looks

_USUAL = {
    "widths": 100,
    "heights": 80,
    "brightness": 120.0,
    "contrast": 50.0,
    "colour": 90.0,
}


def looks_with(count: int = 30, **changes: float) -> Looks:
    """Returns usual images, of which image 7 has other values."""
    columns = {name: np.full(count, value) for name, value in _USUAL.items()}
    for name, value in changes.items():
        columns[name][7] = value
    return Looks(thumbnails=np.zeros((count, 32, 32), np.uint8), **columns)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, []),
        ({"widths": 31}, [TINY]),
        ({"widths": 32}, []),
        ({"heights": 401}, [ASPECT]),
        ({"heights": 400}, []),
        ({"contrast": 2.9, "colour": 0.0, "brightness": 255.0}, [BLANK]),
        ({"brightness": 15.0}, [DARK]),
        ({"brightness": 240.0}, [BRIGHT]),
        ({"colour": 5.0}, [GREY]),
        (
            {"widths": 5, "brightness": 3, "colour": 2},
            [TINY, ASPECT, DARK, GREY],
        ),
    ],
)
def test_unusual_pixels(changes: dict[str, float], kinds: list[str]) -> None:
    found = list(pixel_findings(looks_with(**changes)))
    assert [(f.kind, f.row) for f in found] == [(kind, 7) for kind in kinds]


def test_grey_images_are_usual_among_many_grey_ones() -> None:
    looks = looks_with()
    colour = looks.colour.copy()
    colour[:2] = 0.0  # 2 of 30 are more than 5 %.
    looks = dataclasses.replace(looks, colour=colour)
    assert not list(pixel_findings(looks))


def test_equal_bytes_are_paired_with_the_first() -> None:
    pairs = equal_pairs(["a", "b", "a", "c", "b", "a"])
    assert pairs.tolist() == [[0, 2], [1, 4], [0, 5]]
    assert equal_pairs(["a", "b"]).shape == (0, 2)


def test_groups_are_connected_by_pairs() -> None:
    groups = groups_of(5, np.array([[0, 3], [3, 4]]))
    assert groups[0] == groups[3] == groups[4]
    assert len({groups[0], groups[1], groups[2]}) == 3


@pytest.mark.parametrize(
    ("exact", "near", "labels", "splits", "expected"),
    [
        # The copy in test is kept, though it comes later.
        ([0, 0], [0, 0], [1, 1], "train test", [(EXACT_ACROSS, 0, 1)]),
        ([0, 0], [0, 0], [1, 1], "train train", [(EXACT_WITHIN, 1, 0)]),
        ([0, 1], [0, 0], [1, 1], "train validation", [(NEAR_ACROSS, 0, 1)]),
        ([0, 1], [0, 0], [1, 1], "test test", [(NEAR_WITHIN, 1, 0)]),
        # With two labels, no image of the group is kept.
        (
            [0, 0],
            [0, 0],
            [0, 1],
            "train train",
            [(CONTRADICTION, 0, 1), (CONTRADICTION, 1, 0)],
        ),
        ([0, 1, 2], [0, 1, 2], [0, 1, 1], "train train test", []),
        # Images 0 and 1 are equal, image 2 looks like them.
        (
            [0, 0, 1],
            [0, 0, 0],
            [1, 1, 1],
            "train train test",
            [(EXACT_ACROSS, 0, 1), (EXACT_ACROSS, 1, 0)],
        ),
    ],
)
def test_copies(
    exact: list[int],
    near: list[int],
    labels: list[int],
    splits: str,
    expected: list[tuple[str, int, int]],
) -> None:
    found = copy_findings(
        np.array(exact),
        np.array(near),
        np.array(labels),
        splits.split(),
        ["cat", "dog"],
    )
    assert [(f.kind, f.row, f.other) for f in found] == expected
