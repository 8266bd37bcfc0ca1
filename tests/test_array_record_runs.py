"""A run on a TFDS data set whose files are ArrayRecord."""

from __future__ import annotations

import pytest
import tensorflow_datasets as tfds

from tests.data import tfds_pictures
from tests.runs import assert_same_arrays, lines, stopped_after, train, weights
from tests.tiny import use_tiny_backbone

pytestmark = pytest.mark.slow
# Defining the data sets is what makes TFDS know them.
assert tfds_pictures


def test_stopped_and_resumed(tmp_path, monkeypatch):
    """Bit for bit; features from the cache in one, computed in the other."""
    use_tiny_backbone(monkeypatch)
    dataset, data = "trainer_pictures/all_three", str(tmp_path / "tfds")
    tfds.builder(
        dataset, data_dir=data, file_format="array_record"
    ).download_and_prepare()
    values = {
        "stage": "finetune",
        "tfds_data_dir": data,
        "backbone_args": "",
        "weights": "none",
        "unfreeze": "last:3",
        "batch_size": 4,
        "epochs": 3,
        "checkpoint_every_steps": 1,
    }
    whole, again = tmp_path / "whole", tmp_path / "again"
    result = train(dataset, whole, **values)
    counts = ("train_examples", "validation_examples", "test_examples")
    assert [result[count] for count in counts] == [12, 3, 6]
    with stopped_after(8):
        train(dataset, again, cache="off", **values)
    train(dataset, again, cache="off", **values)
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(whole, stage), weights(again, stage))
    metrics = lines(whole, "metrics.jsonl")
    assert metrics == lines(again, "metrics.jsonl")
    assert ".array_record-" in (whole / "manifest.json").read_text()
