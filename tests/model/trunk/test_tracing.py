"""The graph of the trunk is traced once."""

from __future__ import annotations

import pytest

from tests.support.classifiers import tiny_classifier
from tests.support.replicas import counted_calls
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.engines import GraphTrunk
from trainer.model.trunk.partition import Partition, partition_classifier


def test_layers_are_copied_before_the_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function that creates variables would be traced twice."""
    classifier = tiny_classifier()
    partition = partition_classifier(
        classifier, freeze_plan(classifier, "none"), fold_batch_norm=True
    )
    assert partition is not None
    with counted_calls(monkeypatch, Partition, "trunk") as calls:
        GraphTrunk(partition, block=2)
    assert calls[0] == 1
