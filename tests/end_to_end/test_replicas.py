"""Runs on two replicas, and runs resumed on another number of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.photos import CLASSES
from tests.support.runs import (
    FINISHED,
    TINY,
    lines,
    small,
    stopped_after,
    train,
    weights,
)
from trainer.config import Config
from trainer.run.classifiers import new_classifier
from trainer.run.prepare import prepare

pytestmark = pytest.mark.usefixtures("tiny")
ONE_REPLICA = {"strategy": "one_device", "logical_cpus": 1}
TWO_REPLICAS = {"strategy": "mirrored", "logical_cpus": 2}


def assert_close_to(photos, workdir, result, other, metrics):
    """Checks equal counts, and weights within 0.001 of their change."""
    assert metrics["test_confusion"] == result["test_confusion"]
    start = new_classifier(
        prepare(Config(**small(photos, workdir, **FINISHED))),
        len(CLASSES),
        load=True,
    ).variables
    mine, theirs = weights(workdir, "finetune"), weights(other, "finetune")
    apart = way = 0.0
    for key, variable in start.items():
        name = f"model/{key.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"
        apart += float(np.sum(np.square(mine[name] - theirs[name])))
        way += float(np.sum(np.square(mine[name] - variable.numpy())))
    assert np.sqrt(apart) <= 1e-3 * np.sqrt(way)


@pytest.mark.slow
def test_two_replicas_train_like_one(photos, finished, tmp_path):
    workdir, result = finished
    two = tmp_path / "two"
    metrics = train(photos, two, **FINISHED, **TWO_REPLICAS)
    assert_close_to(photos, workdir, result, two, metrics)


@pytest.mark.slow
def test_two_replicas_end_early_where_one_does(photos, tmp_path):
    values = {
        **TINY,
        "stage": "feature_extract",
        "augment": False,
        "monitor": "loss",
        "patience": 1,
        "epochs": 9,
        # The loss rises at some epoch.
        "learning_rate": 1.0,
    }
    one, two = (
        train(photos, tmp_path / name, **values, **replicas)
        for name, replicas in (("one", ONE_REPLICA), ("two", TWO_REPLICAS))
    )
    assert one["stopped_early"]["epoch"] < 9
    assert one["stopped_early"] == two["stopped_early"]
    for name in ("steps", "best_step", "test_confusion"):
        assert one[name] == two[name]


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_replicas(
    photos, finished, tmp_path
):
    workdir, result = finished
    again = tmp_path / "again"
    values = {**FINISHED, "checkpoint_every_steps": 2}
    # In the middle of the second epoch of fine-tuning.
    with stopped_after(7):
        train(photos, again, **values, **TWO_REPLICAS)
    metrics = train(photos, again, **values, **ONE_REPLICA)
    assert_close_to(photos, workdir, result, again, metrics)
    (warning,) = [
        line["text"]
        for line in lines(again, "events.jsonl")
        if line["event"] == "warning" and "last bits" in line["text"]
    ]
    assert "logical_cpus was 2, is 1" in warning
