"""Pre-training: batches, recipe, resume."""

from __future__ import annotations

import argparse
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tools.pretrain.batches import (
    held_out_batches,
    training_batch,
    training_batches,
    training_rows,
)
from tools.pretrain.comparison import without_blanks
from tools.pretrain.pool import Pool
from tools.pretrain.runs import settle
from tools.pretrain.training import Recipe, make_optimizer, train
from trainer.errors import TrainerError
from trainer.model.classifier import make_classifier
from trainer.workdir import METRICS, Workdir

CLASSES, BATCH, IMAGE_PX = 3, 4, 32
RECIPE = Recipe(
    steps=6,
    learning_rate=1e-2,
    warmup_steps=2,
    weight_decay=0.02,
    clip_global_norm=1.0,
    log_every_steps=1,
    validate_every_steps=2,
)


def _pool(training=22, held_out=6, px=40):
    rng = np.random.default_rng(0)
    n = training + held_out
    return Pool(
        pictures=rng.integers(0, 256, (n, px, px, 3), np.uint8),
        labels=(np.arange(n) % CLASSES).astype(np.int32),
        held_out=held_out,
    )


def test_an_epoch_shows_no_picture_twice_and_no_held_out_one():
    pool = _pool()
    rows = [
        training_rows(pool, batch_size=BATCH, seed=1, step=step)
        for step in range(10)
    ]
    first, second = np.concatenate(rows[:5]), np.concatenate(rows[5:])
    for epoch in (first, second):
        assert len(set(epoch)) == 20 and epoch.max() < pool.training
    assert first.tolist() != second.tolist()


def test_a_step_has_its_batch_wherever_training_began():
    pool = _pool()
    options = {"batch_size": BATCH, "image_px": IMAGE_PX, "seed": 1}
    whole = list(training_batches(pool, **options, start_step=0, total_steps=7))
    rest = list(training_batches(pool, **options, start_step=5, total_steps=7))
    assert len(whole) == 7 and len(rest) == 2
    for expected, found in zip(whole[5:], rest, strict=True):
        for key, value in expected.items():
            np.testing.assert_array_equal(value, found[key], err_msg=key)
    images = whole[0]["images"].numpy()
    assert images.shape == (BATCH, IMAGE_PX, IMAGE_PX, 3)
    assert images.min() >= 0 and images.max() <= 255
    plain = training_batch(pool, **options, step=0)
    np.testing.assert_array_equal(plain["labels"], whole[0]["labels"])


def test_held_out_pictures_come_once_and_padding_is_masked():
    pool = _pool()
    found = list(held_out_batches(pool, batch_size=BATCH, image_px=IMAGE_PX))
    mask = np.concatenate([batch["mask"] for batch in found])
    labels = np.concatenate([batch["labels"] for batch in found])
    assert mask.tolist() == [1] * 6 + [0] * 2
    np.testing.assert_array_equal(labels[:6], pool.labels[-6:])
    np.testing.assert_array_equal(
        found[0]["images"][0], pool.pictures[22, 4:36, 4:36]
    )


def test_padding_repeats_real_pictures():
    images = np.arange(4 * 3, dtype=np.float32).reshape(4, 1, 1, 3)
    batch = {
        "images": tf.constant(images),
        "mask": tf.constant([1.0, 1.0, 1.0, 0.0]),
    }
    found = without_blanks(batch)
    np.testing.assert_array_equal(found["images"], images[[0, 1, 2, 0]])
    np.testing.assert_array_equal(found["mask"], batch["mask"])


def test_a_workdir_goes_on_with_the_same_flags_only(tmp_path):
    workdir = Workdir(str(tmp_path))
    settle(workdir, argparse.Namespace(run=1, workdir="a", steps=3, seed=0))
    settle(workdir, argparse.Namespace(run=2, workdir="b", steps=3, seed=0))
    with pytest.raises(TrainerError, match="began with another --steps; give"):
        settle(workdir, argparse.Namespace(run=1, steps=4, seed=0))


def test_the_learning_rate_rises_and_falls_to_zero():
    schedule = make_optimizer(RECIPE)._learning_rate
    rates = [float(schedule(step)) for step in range(7)]
    assert rates[0] == 0 and rates[2] == pytest.approx(1e-2)
    assert rates[2] > rates[3] > rates[5] > rates[6]
    assert rates[6] == pytest.approx(0, abs=1e-9)


def _small_classifier():
    """With what training mode changes: BatchNorm, and a seed of dropout."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    backbone = keras.Sequential(
        [
            keras.Input((IMAGE_PX, IMAGE_PX, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.2),
            layers.Conv2D(12, 3, strides=2),
        ]
    )
    return make_classifier(backbone, pixels="raw", num_classes=CLASSES, seed=0)


def _trained(folder, pool, stop_at=None):
    """Trains in `folder`; raises KeyboardInterrupt at the n-th validation."""
    folder.mkdir(exist_ok=True)
    classifier = _small_classifier()
    calls = []

    def evaluate():
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return 1.0, 0.5

    def batches(step):
        return training_batches(
            pool,
            batch_size=BATCH,
            image_px=IMAGE_PX,
            seed=1,
            start_step=step,
            total_steps=RECIPE.steps,
        )

    train(
        classifier,
        RECIPE,
        strategy=tf.distribute.get_strategy(),
        batches=batches,
        evaluate=evaluate,
        workdir=Workdir(str(folder)),
    )
    return {k: v.numpy() for k, v in classifier.variables.items()}


def _figures(folder):
    lines = (folder / METRICS).read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "times"}
        for line in lines
    ]


def test_interrupted_training_goes_on_bit_for_bit(tmp_path):
    pool = _pool()
    whole = _trained(tmp_path / "a", pool)
    with pytest.raises(KeyboardInterrupt):
        # At step 4: steps 3 and 4 are lost, and done again.
        _trained(tmp_path / "b", pool, stop_at=2)
    again = _trained(tmp_path / "b", pool)
    assert any("moving_mean" in key for key in whole)
    for key, value in whole.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)
    assert _figures(tmp_path / "a") == _figures(tmp_path / "b")
    assert any((tmp_path / "a" / "tensorboard" / "validation").iterdir())
