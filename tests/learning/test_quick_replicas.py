"""Quick gradients in the loop of steps: on replicas, and in parts."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.support.classifiers import (
    batch_of,
    copy_of,
    labels_of,
    tiny_images,
)
from tests.support.replicas import Descent, feed, strategy_of
from trainer.learning.graph_loops import make_train_function
from trainer.model import cpu_gradients
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import partition_classifier

CLASSES, BATCH = 3, 8


def swish_classifier() -> Classifier:
    """Conv -> norm -> swish -> 5 x 5 depthwise -> norm -> swish, at 8 px."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3), name="input")
    for number, layer in enumerate(
        (
            keras.layers.Conv2D(4, 3, use_bias=False, name="conv"),
            keras.layers.DepthwiseConv2D(
                5, padding="same", use_bias=False, name="depthwise"
            ),
        )
    ):
        x = keras.layers.BatchNormalization(name=f"norm{number}")(layer(x))
        x = keras.layers.Activation("swish", name=f"swish{number}")(x)
    return make_classifier(
        keras.Model(inputs, x, name="swish"),
        pixels="tf",
        num_classes=CLASSES,
        seed=0,
    )


def moved(replicas: int, parts: int, quick: bool) -> dict[str, np.ndarray]:
    """The gradient of a batch whose last rows are padding."""
    strategy = strategy_of(replicas)
    classifier = copy_of(swish_classifier(), strategy)
    with strategy.scope():
        plan = freeze_plan(classifier, "all")
        optimizer = Descent(1.0)
        trained = {key: classifier.variables[key] for key in plan.trainable}
        optimizer.build(list(trained.values()))
    before = {key: value.numpy().copy() for key, value in trained.items()}
    train = make_train_function(
        strategy,
        classifier,
        plan,
        optimizer,
        clip_global_norm=None,
        xla=False,
        partition=partition_classifier(
            classifier, plan, fold_batch_norm=True, quick_gradients=quick
        ),
        accumulate_steps=parts,
    )
    batch = batch_of(tiny_images(6), labels_of(6, CLASSES), BATCH)
    train(feed(strategy, [batch]), 1)
    return {key: value.numpy() - before[key] for key, value in trained.items()}


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("replicas", [1, 2])
def test_quick_gradients_are_those_of_one_replica(
    monkeypatch: pytest.MonkeyPatch, replicas: int, parts: int
) -> None:
    loops = []
    real = cpu_gradients._loop
    monkeypatch.setattr(cpu_gradients, "_LOOP_VALUES", 1)
    monkeypatch.setattr(
        cpu_gradients,
        "_loop",
        lambda *given: loops.append(given) or real(*given),
    )
    quick = moved(replicas, parts, quick=True)
    assert len(loops) == 2 * replicas
    plain = moved(1, 1, quick=False)
    assert len(loops) == 2 * replicas
    norm = np.sqrt(sum(np.sum(value**2) for value in plain.values()))
    assert norm > 0.01
    assert quick.keys() == plain.keys()
    for key, value in plain.items():
        assert np.linalg.norm(quick[key] - value) <= 1e-5 * norm, key
