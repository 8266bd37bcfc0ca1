"""A run on a TFDS data set whose files are ArrayRecord."""

from __future__ import annotations

import errno
import types

import pytest
import tensorflow_datasets as tfds

from tests.support import tfds_images
from tests.support.runs import (
    assert_same_arrays,
    lines,
    stopped_after,
    train,
    weights,
)
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.data import reading
from trainer.data.samples import ARRAY_RECORD
from trainer.distribute import strategies
from trainer.errors import TrainerError, UsageError
from trainer.run import training

pytestmark = pytest.mark.slow
# TFDS knows the data sets as soon as their classes are defined.
assert tfds_images


DATASET = "trainer_images/all_three"


@pytest.fixture
def values(tmp_path, monkeypatch):
    """The flags of a small run on a prepared data set."""
    use_tiny_backbone(monkeypatch)
    data = str(tmp_path / "tfds")
    tfds.builder(
        DATASET, data_dir=data, file_format="array_record"
    ).download_and_prepare()
    return {
        "stage": "finetune",
        "tfds_data_dir": data,
        "backbone_args": "",
        "weights": "none",
        "unfreeze": "last:3",
        "batch_size": 4,
        "epochs": 1,
        "checkpoint_every_steps": 2,
    }


def test_a_record_lost_during_training_is_one_line(
    values, tmp_path, monkeypatch
):
    def gone(paths, numbers):
        raise OSError(errno.EIO, "the disk is gone", paths[0])

    monkeypatch.setattr(reading, "read_records", gone)
    with pytest.raises(TrainerError) as error:
        train(DATASET, tmp_path / "run", cache="off", **values)
    text = str(error.value)
    assert "the disk is gone" in text
    assert ".array_record-00000" in text
    assert "\n" not in text


def test_a_network_tpu_refuses_array_records(monkeypatch):
    monkeypatch.setattr(strategies, "on_tpu", lambda strategy: True)
    train = types.SimpleNamespace(record_format=ARRAY_RECORD)
    setup = types.SimpleNamespace(
        config=Config(tpu="node-1"),
        runtime=types.SimpleNamespace(strategy=None),
    )
    with pytest.raises(
        UsageError, match=r"^--tpu=node-1: its host cannot read"
    ):
        training.choose_fast_paths(
            setup, None, types.SimpleNamespace(train=train)
        )


def test_a_run_on_array_records_resumes_bit_identically(values, tmp_path):
    """Only the uninterrupted run reads its features from the cache."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    result = train(DATASET, whole, **values)
    counts = ("train_examples", "validation_examples", "test_examples")
    assert [result[count] for count in counts] == [12, 3, 6]
    # In finetune, after two saves of the head.
    with stopped_after(3):
        train(DATASET, again, cache="off", **values)
    train(DATASET, again, cache="off", **values)
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(whole, stage), weights(again, stage))
    metrics = lines(whole, "metrics.jsonl")
    assert metrics == lines(again, "metrics.jsonl")
    assert ".array_record-" in (whole / "manifest.json").read_text()
