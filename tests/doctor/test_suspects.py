"""Confident learning on probabilities whose result is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.doctor.suspects import confident_classes, margins, ranked_suspects

# Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.8 + 0.4) / 2 =
# 0.6, class 2 has no image.
PROBABILITIES = np.array(
    [
        [0.9, 0.05, 0.05],
        [0.7, 0.2, 0.1],
        [0.2, 0.75, 0.05],
        [0.1, 0.8, 0.1],
        [0.59, 0.4, 0.01],
    ]
)
LABELS = np.array([0, 0, 0, 1, 1])


def test_an_image_belongs_to_a_class_whose_threshold_it_reaches() -> None:
    found = confident_classes(PROBABILITIES, LABELS)
    # The last image reaches no threshold, though class 0 is its best one.
    assert found.tolist() == [0, 0, 1, 1, -1]


def test_margin_is_the_label_minus_the_best_other_class() -> None:
    expected = [0.85, 0.5, -0.55, 0.7, -0.19]
    assert margins(PROBABILITIES, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, [2]),
        # Its margin, 0.05 - 0.94, is below that of image 2; the thresholds
        # are 0.6 and (0.8 + 0.05) / 2.
        ({4: [0.94, 0.05, 0.01]}, [4, 2]),
        # Image 4 reaches the threshold of class 0, (0.9 + 0.7 + 0.2) / 3, but
        # its label is more probable than 1 / 3.
        ({4: [0.62, 0.36, 0.02]}, [2]),
        ({4: [0.68, 0.31, 0.01]}, [2, 4]),
        # Nothing is suspect if every image agrees with its label.
        ({2: [0.9, 0.05, 0.05], 4: [0.1, 0.8, 0.1]}, []),
    ],
)
def test_suspects_are_ranked_by_margin(
    changed: dict[int, list[float]], expected: list[int]
) -> None:
    probabilities = PROBABILITIES.copy()
    for row, values in changed.items():
        probabilities[row] = values
    assert ranked_suspects(probabilities, LABELS).tolist() == expected
