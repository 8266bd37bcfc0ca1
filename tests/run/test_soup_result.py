"""The result of a soup of runs that differ."""

from __future__ import annotations

import types
from typing import Any

from trainer.results.greedy_soup import Score, Trial
from trainer.run.soup_result import soup_result
from trainer.workdir import Workdir


def test_a_soup_has_the_most_trained_parameters_of_its_runs() -> None:
    counts = (5, 7, 9)
    ingredients: Any = [
        types.SimpleNamespace(
            step=3,
            workdir=Workdir(f"/runs/{count}"),
            run=types.SimpleNamespace(
                result={
                    "stage": "finetune",
                    "trainable_params": count,
                    "train_seconds": 1.5,
                    "test_loss": 0.1,
                    "audit": {},
                }
            ),
        )
        for count in counts
    ]
    score = Score(accuracy=0.5, loss=1.0)
    trials = [
        Trial(index=i, alone=score, with_it=score, accepted=i < 2)
        for i in range(3)
    ]
    manifest: Any = types.SimpleNamespace(validation=range(4))
    result = soup_result(ingredients, trials, manifest, {"test_loss": 0.2})
    assert result["trainable_params"] == 7
    assert (result["train_seconds"], result["test_loss"]) == (4.5, 0.2)
    assert "audit" not in result
