"""A batch taken in parts, beside the same batch taken whole."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    copy_of,
    labels_of,
    tiny_classifier,
    tiny_images,
)
from tests.support.replicas import feed, strategy_of
from tests.support.topologies import batch as augmented_batch
from trainer.errors import TrainerError
from trainer.learning.graph_loops import make_train_function
from trainer.learning.steps import (
    StepOutput,
    frozen_variables,
    make_train_step,
    values_of,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import partition_classifier

CLASSES = 3
BATCH = 8
# In four parts: all real; (2, 2, 1, 0) real ones; (2, 2, 0, 0); (1, 0, 0, 0).
ROWS = (8, 5, 4, 1)


class Stepped:
    """The pure step of one classifier, on images or on features."""

    def __init__(self, *, features: bool = False, xla: bool = False) -> None:
        self.classifier = tiny_classifier(CLASSES)
        self.plan = freeze_plan(
            self.classifier, "last:2" if features else "all"
        )
        self.partition = (
            partition_classifier(
                self.classifier, self.plan, fold_batch_norm=True
            )
            if features
            else None
        )
        assert not features or self.partition.cut
        self._xla = xla

    def function(self, parts: int) -> Any:
        return tf.function(
            make_train_step(
                self.classifier,
                self.plan,
                kernel="gather",
                partition=self.partition,
                accumulate_steps=parts,
            ),
            jit_compile=self._xla,
        )

    def arguments(self, rows: int) -> tuple[Any, ...]:
        batch = {
            name: tf.constant(value)
            for name, value in augmented_batch(rows, rows).items()
        }
        if self.partition is not None:
            del batch["matrices"]
            constants = self.partition.trunk_constants()
            found = self.partition.trunk(constants, batch.pop("images"))
            batch["features"] = tuple(found)
        values = self.classifier.variables
        return (
            [
                tf.convert_to_tensor(values[k].value)
                for k in self.plan.trainable
            ],
            values_of(
                frozen_variables(self.classifier, self.plan, self.partition)
            ),
            batch,
            tf.constant(rows, tf.float32),
        )

    def output(self, parts: int, rows: int) -> StepOutput:
        return self.function(parts)(*self.arguments(rows))


def norm(arrays: Any) -> float:
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))


@pytest.mark.parametrize(
    ("features", "xla"),
    [
        pytest.param(False, False, id="images", marks=pytest.mark.slow),
        pytest.param(True, False, id="features", marks=pytest.mark.slow),
        pytest.param(True, True, id="features-xla", marks=pytest.mark.slow),
    ],
)
def test_gradients_and_sums_equal_those_of_the_whole_batch(
    features: bool, xla: bool
) -> None:
    stepped = Stepped(features=features, xla=xla)
    whole = stepped.function(1)
    for parts in (4, 8):
        taken = stepped.function(parts)
        for rows in ROWS:
            one = whole(*stepped.arguments(rows))
            other = taken(*stepped.arguments(rows))
            gradients = [g.numpy() for g in one.gradients]
            others = [g.numpy() for g in other.gradients]
            assert all(g.dtype == np.float32 for g in others)
            apart = norm(a - b for a, b in zip(gradients, others, strict=True))
            assert apart <= 1e-5 * norm(gradients), (parts, rows)
            assert float(other.sums["count"]) == rows
            assert float(other.sums["correct"]) == float(one.sums["correct"])
            np.testing.assert_allclose(
                other.sums["loss"], one.sums["loss"], rtol=1e-5
            )
        assert taken.experimental_get_tracing_count() == 1


def leading(text: str) -> set[int]:
    """First dimensions of what the convolution top_conv makes.

    Of 8 x 8 px conv makes 6 x 6, and top_conv 4 x 4 with 5 channels, a shape
    that nothing else has.
    """
    return {int(n) for n in re.findall(r"f32\[(\d+),4,4,5\]", text)}


@pytest.mark.slow
def test_xla_holds_the_activations_of_one_part() -> None:
    """Measured in the compiled program, because that uses the memory."""
    stepped = Stepped(xla=True)
    arguments = stepped.arguments(BATCH)
    found = {
        parts: leading(
            stepped.function(parts).experimental_get_compiler_ir(*arguments)(
                stage="optimized_hlo"
            )
        )
        for parts in (1, 4)
    }
    assert found == {1: {BATCH}, 4: {BATCH // 4}}


def no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of top_norm only beta is left, and top_conv has no effect."""

    def cut(layer: Any, inputs: Any, training: Any = None, mask: Any = None):
        return tf.zeros_like(inputs) + layer.beta

    monkeypatch.setattr(keras.layers.BatchNormalization, "call", cut)


@pytest.mark.parametrize(
    "xla", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_accumulation_leaves_unconnected_gradients_none(
    monkeypatch: pytest.MonkeyPatch, xla: bool
) -> None:
    no_path(monkeypatch)
    stepped = Stepped(xla=xla)
    found = [
        [gradient is None for gradient in stepped.output(parts, 5).gradients]
        for parts in (1, 2)
    ]
    assert found[0] == found[1]
    assert set(found[0]) == {True, False}


def function_of(classifier: Classifier, **options: Any) -> Any:
    strategy = strategy_of(1)
    with strategy.scope():
        plan = freeze_plan(classifier, "all")
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build([classifier.variables[k] for k in plan.trainable])
    call = make_train_function(
        strategy,
        classifier,
        plan,
        optimizer,
        clip_global_norm=None,
        xla=False,
        **options,
    )
    images, labels = tiny_images(4), labels_of(4, CLASSES)
    return call, feed(strategy, [batch_of(images, labels, 4)])


def test_accumulation_detects_a_layer_updated_in_inference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = keras.layers.BatchNormalization.call

    def updated_in_inference(
        layer: Any, inputs: Any, training: Any = None, mask: Any = None
    ):
        return real(layer, inputs, training=True, mask=mask)

    classifier = copy_of(tiny_classifier(CLASSES), strategy_of(1))
    monkeypatch.setattr(
        keras.layers.BatchNormalization, "call", updated_in_inference
    )
    call, batches = function_of(classifier, accumulate_steps=2)
    with pytest.raises(TrainerError, match="norm/moving_mean: changed by a"):
        call(batches, 1)
