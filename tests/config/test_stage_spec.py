"""The epochs of a stage under --min_steps."""

from __future__ import annotations

import pytest

from trainer.config import StageSpec


@pytest.mark.parametrize(
    ("epochs", "steps", "epoch_steps", "expected", "every"),
    [
        pytest.param(5, 0, 3, 5, 1, id="no minimum"),
        pytest.param(5, 15, 3, 5, 1, id="enough epochs"),
        pytest.param(5, 16, 3, 6, 1, id="one more, too few to skip"),
        # 600 / 3 epochs; ceil(20 / 3) epochs are the first of 20 steps.
        pytest.param(10, 600, 3, 200, 7, id="70 photos"),
        pytest.param(10, 600, 2, 300, 10, id="43 photos"),
        pytest.param(10, 600, 24, 25, 1, id="750 photos"),
        pytest.param(10, 40, 1, 40, 4, id="ten validations"),
        pytest.param(10, 600, 235, 10, 1, id="7,500 photos"),
    ],
)
def test_min_steps(
    epochs: int, steps: int, epoch_steps: int, expected: int, every: int
) -> None:
    spec = StageSpec(
        stage="finetune", epochs=epochs, learning_rate=0.1, unfreeze="all"
    ).at_least(steps, epoch_steps)
    assert (spec.epochs, spec.validate_every) == (expected, every)
