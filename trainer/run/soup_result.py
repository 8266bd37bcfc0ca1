"""The result of a soup: result.json of its workdir."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config.fields import SOUP
from trainer.data.manifest import Manifest
from trainer.learning.checkpoint_files import LAST
from trainer.results.greedy_soup import Trial
from trainer.results.statistics import wilson_interval
from trainer.run.ingredients import Ingredient
from trainer.storage import files

# Fields of result.json that describe a single run, so a soup has none of them.
_OF_ONE_RUN = ("audit", "earlier_stages", "metrics_position", "stopped_early")


def soup_result(
    ingredients: Sequence[Ingredient],
    trials: Sequence[Trial],
    manifest: Manifest,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns result.json: the best run's, with the metrics of the soup.

    Args:
      ingredients: the runs.
      trials: the runs in the order in which they were tried; the first is the
        best run.
      manifest: the samples of the soup.
      metrics: of the test of the soup.
    """
    best = ingredients[trials[0].index]
    accepted = [trial for trial in trials if trial.accepted]
    score = accepted[-1].with_it
    total = len(manifest.validation)
    of_best = {
        key: value
        for key, value in best.run.result.items()
        if key not in _OF_ONE_RUN and not key.startswith("test_")
    }
    return {
        **of_best,
        **metrics,
        "steps": best.step,
        "monitor": "accuracy",
        "best_step": best.step,
        "best_validation_accuracy": score.accuracy,
        "best_validation_loss": score.loss,
        "best_monitor_value": score.accuracy,
        "best_validation_accuracy_interval": list(
            wilson_interval(score.accuracy, total)
        ),
        "validation_examples": total,
        "result_checkpoint": LAST,
        "result_step": best.step,
        # The runs may have trained different layers.
        "trainable_params": max(
            ingredients[trial.index].run.result["trainable_params"]
            for trial in accepted
        ),
        "train_seconds": round(
            sum(i.run.result["train_seconds"] for i in ingredients), 3
        ),
        SOUP: [_trial_json(trial, ingredients) for trial in trials],
    }


def _trial_json(
    trial: Trial, ingredients: Sequence[Ingredient]
) -> dict[str, Any]:
    ingredient = ingredients[trial.index]
    return {
        "workdir": files.absolute(ingredient.workdir.path),
        "stage": ingredient.run.result["stage"],
        "step": ingredient.step,
        "validation_accuracy": trial.alone.accuracy,
        "validation_loss": trial.alone.loss,
        "validation_accuracy_in_mean": trial.with_it.accuracy,
        "validation_loss_in_mean": trial.with_it.loss,
        "accepted": trial.accepted,
    }
