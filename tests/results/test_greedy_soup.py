"""Greedy soups of scores that are worked out by hand."""

from __future__ import annotations

import pytest

from trainer.results.greedy_soup import Score, greedy_soup


def score(accuracy: float, loss: float) -> Score:
    return Score(accuracy=accuracy, loss=loss)


# The scores alone; those of the means that are asked for, in this order; the
# accepted ingredients.
CASES = {
    "all help": (
        [score(0.5, 1), score(0.7, 1), score(0.6, 1)],
        {(1, 2): score(0.8, 1), (1, 2, 0): score(0.9, 1)},
        [1, 2, 0],
    ),
    "the second harms, the third does not": (
        [score(0.9, 1), score(0.8, 1), score(0.7, 1)],
        {(0, 1): score(0.89, 0.1), (0, 2): score(0.9, 1)},
        [0, 2],
    ),
    "an equal accuracy with a higher loss is left out": (
        [score(0.9, 1), score(0.8, 1)],
        {(0, 1): score(0.9, 1.01)},
        [0],
    ),
    "of equal accuracies the lower loss is first": (
        [score(0.9, 1), score(0.9, 0.5)],
        {(1, 0): score(0.9, 0.4)},
        [1, 0],
    ),
    "of equal scores the first given is first": (
        [score(0.9, 1), score(0.9, 1)],
        {(0, 1): score(0.9, 1)},
        [0, 1],
    ),
    "a loss that is no number is left out": (
        [score(0.9, 1), score(0.8, 1)],
        {(0, 1): score(0.9, float("nan"))},
        [0],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_ingredients_are_accepted_unless_validation_falls(name: str) -> None:
    alone, means, accepted = CASES[name]
    asked = []

    def score_of_mean(indices: tuple[int, ...]) -> Score:
        asked.append(indices)
        return means[indices]

    trials = greedy_soup(alone, score_of_mean)
    assert asked == list(means)
    assert [t.index for t in trials if t.accepted] == accepted
    assert sorted(t.index for t in trials) == list(range(len(alone)))
