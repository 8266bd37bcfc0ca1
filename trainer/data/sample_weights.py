"""The weights of samples in the training loss, from the column of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.samples import Samples
from trainer.errors import TrainerError


def check_weights(train: Samples, location: str) -> None:
    """Checks that some weight is above 0.

    Args:
      train: the training samples of a run.
      location: of the data set, for errors.

    Raises:
      TrainerError: all weights are 0.
    """
    if train.weights is not None and not train.weights.any():
        raise TrainerError(
            f"{location}: all training samples have the weight 0, so there is"
            " no loss; give some a weight above 0"
        )


def weights_to_json(train: Samples) -> dict[str, Any]:
    """Returns the weights of the samples for manifest.json; {} without any."""
    if train.weights is None:
        return {}
    return {"train_weights": train.weights.tolist()}


def weights_fields(train: Samples) -> list[Any]:
    """Returns what a fingerprint has of the weights: nothing without any."""
    if train.weights is None:
        return []
    rows = zip(train.ids, train.weights.tolist(), strict=True)
    return [{"weights": sorted(rows)}]


def weights_phrase(weights: np.ndarray) -> str:
    """Returns the range of weights, and how many are 0.

    Args:
      weights: float64 (n,), at least one.
    """
    zeros = np.count_nonzero(weights == 0)
    text = f"weights from {weights.min():g} to {weights.max():g}"
    return f"{text}, {zeros:,} of them 0" if zeros else text
