"""Chooses which weights to average, by validation: a greedy soup.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models
improves accuracy without increasing inference time", ICML 2022, recipe 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """The validation metrics of a set of weights.

    Attributes:
      accuracy: in [0, 1].
      loss: mean cross-entropy, nats.
    """

    accuracy: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """A sort key: a higher accuracy is better, then a lower loss."""
        return self.accuracy, -self.loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of trying to add one ingredient.

    Attributes:
      index: the index of the ingredient.
      alone: the score of the ingredient by itself.
      with_it: the score of the mean of the soup so far and the ingredient.
      accepted: whether the ingredient was added to the soup.
    """

    index: int
    alone: Score
    with_it: Score
    accepted: bool


def greedy_soup(
    alone: Sequence[Score], score_of_mean: Callable[[tuple[int, ...]], Score]
) -> tuple[Trial, ...]:
    """Adds ingredients, best first, unless the validation gets worse.

    An ingredient is accepted if the accuracy of the mean rises, or stays the
    same without a higher loss. So on the validation samples, the soup is never
    worse than the best ingredient.

    Args:
      alone: the score of each ingredient; at least one.
      score_of_mean: returns the score of the mean of the given ingredients.

    Returns:
      One trial per ingredient. The first is the best one, which is always
      accepted.
    """
    order = sorted(range(len(alone)), key=lambda i: alone[i].rank, reverse=True)
    first = order[0]
    trials = [
        Trial(
            index=first,
            alone=alone[first],
            with_it=alone[first],
            accepted=True,
        )
    ]
    chosen: tuple[int, ...] = (first,)
    best = alone[first]
    for index in order[1:]:
        score = score_of_mean((*chosen, index))
        accepted = score.rank >= best.rank
        trials.append(
            Trial(
                index=index,
                alone=alone[index],
                with_it=score,
                accepted=accepted,
            )
        )
        if accepted:
            chosen, best = (*chosen, index), score
    return tuple(trials)
