"""Training mode, which only the making of weights to start from uses."""

from __future__ import annotations

import contextlib
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainer.train.loop
from tests.train.classifiers import live_classifier, pictures
from tests.train.replicas import strategy_of
from trainer.model.classifier import make_classifier
from trainer.model.freeze import apply_freeze
from trainer.train.calls import make_train_function

COUNT = 8


def _batch(images):
    labels = np.arange(len(images), dtype=np.int32) % 3
    return {
        "images": images,
        "labels": labels,
        "mask": np.ones(len(images), np.float32),
    }


def _train(classifier, strategy, steps, **kwargs):
    plan = apply_freeze(classifier, "all")
    mirrored = strategy.num_replicas_in_sync > 1
    with strategy.scope() if mirrored else contextlib.nullcontext():
        optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-4)
        optimizer.build([classifier.variables[k] for k in plan.trainable])
    call = make_train_function(
        strategy, classifier, plan, optimizer, clip_global_norm=None,
        xla=False, **kwargs,
    )  # fmt: skip
    one = _batch(pictures(COUNT))
    data = tf.data.Dataset.from_tensors(one).repeat(steps)
    return call(iter(strategy.experimental_distribute_dataset(data)), steps)


@pytest.mark.slow
def test_weights_and_statistics_equal_plain_keras_fit():
    """Plain `fit` runs a functional model in training mode: the reference."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    classifier = live_classifier("MobileNetV2", 3)
    start = {k: v.numpy().copy() for k, v in classifier.variables.items()}
    _train(classifier, strategy, 2, from_scratch=True)
    ours = {k: v.numpy().copy() for k, v in classifier.variables.items()}
    for key, variable in classifier.variables.items():
        variable.assign(start[key])

    batch = _batch(pictures(COUNT))
    classifier.model.compile(
        optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    scaled = batch["images"] / 127.5 - 1
    for _ in range(2):
        classifier.model.train_on_batch(scaled, batch["labels"])
    moved = 0
    for key, variable in classifier.variables.items():
        theirs = variable.numpy()
        moved += not np.array_equal(theirs, start[key])
        if "moving_" in key:
            assert not np.array_equal(ours[key], start[key])
            np.testing.assert_allclose(
                ours[key], theirs, rtol=1e-3, atol=1e-4, err_msg=key
            )
    assert moved == len(classifier.variables)


@pytest.mark.slow
def test_stochastic_depth_draws_anew_each_step():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    classifier = live_classifier("EfficientNetB0", 3)
    seeds = {k: v.numpy().copy() for k, v in classifier.variables.items()
             if "seed" in k}  # fmt: skip
    assert seeds
    _train(classifier, strategy, 1, from_scratch=True)
    for key, value in seeds.items():
        assert not np.array_equal(classifier.variables[key].numpy(), value)


@pytest.mark.parametrize("from_scratch", [False, True])
def test_statistics_move_only_in_training_mode(from_scratch):
    strategy = strategy_of(2)
    keras.utils.clear_session()
    with strategy.scope():
        backbone = keras.applications.MobileNetV2(
            weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35
        )
        classifier = make_classifier(
            backbone, pixels="tf", num_classes=3, seed=0
        )
    key = next(k for k in classifier.variables if "moving_mean" in k)
    before = classifier.variables[key].numpy().copy()
    _train(classifier, strategy, 1, from_scratch=from_scratch)
    variable = classifier.variables[key].value
    copies = [v.numpy() for v in strategy.experimental_local_results(variable)]
    np.testing.assert_array_equal(copies[0], copies[1])
    assert np.array_equal(copies[0], before) is not from_scratch


def test_the_loop_of_a_run_never_asks_for_it():
    assert "from_scratch" not in inspect.getsource(trainer.train.loop)
