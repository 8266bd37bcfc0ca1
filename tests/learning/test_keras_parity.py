"""The same weights and batches, trained by Keras `fit` and by this trainer.

Keras 3 `fit` overrides a recorded `training=False`, so the base is wrapped
into a layer that really runs it in inference mode; the last test shows the
override itself.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    IMAGE_PX,
    live_classifier,
    pictures,
    tiny_classifier,
)
from trainer.learning.graph_loops import make_train_function
from trainer.model.freeze import freeze_plan, set_trainable

CLASSES = 5
# The last batch of an epoch of 20, then the next epoch's first two.
BATCHES = (8, 8, 4, 8, 8)
RATE = 1e-4
# Adam's update of a weight whose gradient is all rounding is of random sign,
# and with the default of 1e-7 a few such weights among 10^5 would be seen.
EPSILON = 1e-4


class InferenceMode(keras.layers.Layer):
    """Runs a model in inference mode, whatever `fit` asks for."""

    def __init__(self, base: keras.Model) -> None:
        super().__init__()
        self.base = base

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.base(inputs, training=False)


def _batches(px: int = IMAGE_PX) -> list[tuple[np.ndarray, np.ndarray]]:
    images = pictures(sum(BATCHES))[:, :: IMAGE_PX // px, :: IMAGE_PX // px]
    labels = np.random.default_rng(5).integers(0, CLASSES, len(images))
    ends = np.cumsum(BATCHES)
    starts = ends - np.array(BATCHES)
    return [
        (images[a:b], labels[a:b].astype(np.int32))
        for a, b in zip(starts, ends, strict=True)
    ]


def _scaled(images: np.ndarray, pixels: str) -> np.ndarray:
    return images / 127.5 - 1 if pixels == "tf" else images


def _keras_fit(classifier, base_layer) -> None:
    """The tutorial's model around the classifier's own backbone and head."""
    px = classifier.backbone.input_shape[1]
    inputs = keras.Input(classifier.backbone.input_shape[1:])
    features = keras.layers.GlobalAveragePooling2D()(base_layer(inputs))
    model = keras.Model(inputs, classifier.head(features))
    model.compile(
        optimizer=keras.optimizers.Adam(RATE, epsilon=EPSILON),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )

    def generate():
        for images, labels in _batches(px):
            yield _scaled(images, classifier.pixels), labels

    dataset = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, px, px, 3), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    model.fit(dataset, epochs=1, verbose=0)


def _our_steps(classifier, plan) -> None:
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    optimizer = keras.optimizers.Adam(RATE, epsilon=EPSILON)
    optimizer.build([classifier.variables[k] for k in plan.trainable])
    call = make_train_function(
        strategy, classifier, plan, optimizer, clip_global_norm=None, xla=False
    )
    size = max(BATCHES)

    def padded(images, labels):
        missing = size - len(labels)
        return {
            # Padding must not count, whatever it holds.
            "images": np.pad(
                images, [(0, missing)] + [(0, 0)] * 3, constant_values=77
            ),
            "labels": np.pad(labels, (0, missing)),
            "mask": np.pad(np.ones(len(labels), np.float32), (0, missing)),
        }

    batches = [padded(*batch) for batch in _batches()]
    stacked = {k: np.stack([b[k] for b in batches]) for k in batches[0]}
    dataset = tf.data.Dataset.from_tensor_slices(stacked)
    iterator = iter(strategy.experimental_distribute_dataset(dataset))
    result = call(iterator, len(BATCHES))
    np.testing.assert_array_equal(result.sums["count"], BATCHES)


def _values(classifier) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in classifier.variables.items()}


def _assign(classifier, values) -> None:
    for key, variable in classifier.variables.items():
        variable.assign(values[key])


# ReLU has a kink, where two orders of summation may take different sides; in
# a random deep network with all layers trained one such flip was seen to turn
# 20 % of an update. EfficientNet is smooth; of kinked networks one saw 0.001 of
# the update, with the last ten layers of ResNet50V2, on a processor where
# another saw less than 0.0001. BatchNorm in training mode would be many times
# that.
BOUND, KINKED_BOUND = 1e-4, 5e-3
KINKED = ("MobileNetV2",)
# One smooth and one kinked network, and each rule of freezing. The logits and
# gradients of other families: tests/model/trunk/test_partition.py.
CASES = (
    ("EfficientNet of 10 blocks", "all"),
    ("MobileNetV2", "last:10"),
    ("MobileNetV2", "none"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "unfreeze"), CASES)
def test_five_steps_equal_keras_fit(name, unfreeze):
    classifier = live_classifier(name, CLASSES)
    features = classifier.backbone(
        _scaled(pictures(16), classifier.pixels), training=False
    )
    assert np.std(features) > 0.1
    plan = freeze_plan(classifier, unfreeze)
    set_trainable(classifier, plan)
    start = _values(classifier)

    _keras_fit(classifier, InferenceMode(classifier.backbone))
    theirs = _values(classifier)
    _assign(classifier, start)
    _our_steps(classifier, plan)
    ours = _values(classifier)

    def norm(differences):
        return np.sqrt(sum(np.sum(np.square(d, dtype=np.float64))
                           for d in differences))  # fmt: skip

    update = norm(theirs[k] - start[k] for k in plan.trainable)
    # Adam's first steps move each weight by about the learning rate.
    assert update > RATE
    apart = norm(ours[k] - theirs[k] for k in plan.trainable)
    bound = KINKED_BOUND if name in KINKED else BOUND
    assert apart <= bound * update, (apart / update, update)
    for key in plan.frozen:
        np.testing.assert_array_equal(ours[key], start[key], err_msg=key)
        np.testing.assert_array_equal(theirs[key], start[key], err_msg=key)


@pytest.mark.slow
def test_plain_keras_fit_overrides_the_recorded_inference_mode():
    """The day this fails, Keras honours `base(x, training=False)` again."""
    classifier = tiny_classifier(CLASSES)
    set_trainable(classifier, freeze_plan(classifier, "all"))
    start = _values(classifier)
    _keras_fit(classifier, lambda x: classifier.backbone(x, training=False))
    moved = [
        key
        for key, value in _values(classifier).items()
        if "moving_" in key and not np.array_equal(value, start[key])
    ]
    statistics = [key for key in start if "moving_" in key]
    assert len(moved) == len(statistics) > 0
