"""Class activation maps, compared with Grad-CAM by a gradient tape."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import TINY_PX, tiny_classifier
from trainer.model.activation import class_activations
from trainer.model.pixels import preprocess


@pytest.mark.parametrize(("number", "labels"), [(0, [2, 0]), (1, [0])])
def test_activations_are_grad_cam(number: int, labels: list[int]) -> None:
    """Those of each image of a batch are its own."""
    classifier = tiny_classifier(4)
    shape = (2, TINY_PX, TINY_PX, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    found = class_activations(classifier, images, [[2, 0], [0]])[number]
    inputs = preprocess(tf.constant(images[number][None]), classifier.pixels)
    for activation, label in zip(found, labels, strict=True):
        with tf.GradientTape() as tape:
            maps = classifier.backbone(inputs, training=False)
            tape.watch(maps)
            logit = classifier.head(tf.reduce_mean(maps, (1, 2)))[0, label]
        weights = tf.reduce_mean(tape.gradient(logit, maps), (1, 2))
        expected = tf.nn.relu(tf.reduce_sum(maps * weights[:, None, None], -1))
        np.testing.assert_allclose(activation, expected[0], atol=1e-6)
        # The logit is the model's own.
        own = classifier.model(inputs, training=False)[0, label]
        np.testing.assert_allclose(logit, own, rtol=1e-5)
    assert found.max() > 0
