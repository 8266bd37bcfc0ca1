"""Draws for mixing, erasing and dropout, and their effect on a batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.data.test_batches import shard
from trainer.config.mixing import Mixing, parse_mix
from trainer.data.erasing import draw_erased_box, erase
from trainer.data.mixing import draw_box, draw_weight, mixed
from trainer.data.order import PADDING
from trainer.data.regularization import draw_dropout
from trainer.errors import UsageError


def key_of(number: int) -> tf.Tensor:
    return tf.constant([3, number], tf.int64)


@pytest.mark.parametrize("text", ["mixup:0.2", "cutmix:1", "mixup:1e-3"])
def test_mix_is_parsed(text: str) -> None:
    method, alpha = text.split(":")
    assert parse_mix(text) == Mixing(method=method, alpha=float(alpha))


@pytest.mark.parametrize(
    "text",
    [
        *("", "mixup", "mixup:", "mixup:0", "mixup:-1", "mixup:nan"),
        *("mixup:inf", "blend:1", "cutmix:1001", "mixup:0.2|cutmix:1", "on"),
    ],
)
def test_other_values_of_mix_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_mix(text)
    assert str(error.value).startswith(f"--mix={text!r}: must be off, mixup:A")
    assert parse_mix("off") is None


@pytest.mark.parametrize("alpha", [0.001, 0.4, 1000.0])
def test_weights_have_the_beta_distribution(alpha: float) -> None:
    draw = tf.function(lambda n: draw_weight(tf.stack([7, n]), alpha))
    numbers = tf.data.Dataset.range(2000).map(draw)
    weights = np.array(list(numbers.as_numpy_iterator()))
    assert np.all((weights >= 0) & (weights <= 1))
    known = stats.beta(alpha, alpha)
    # In float32 much of a small alpha's distribution rounds to 0 and 1.
    at = np.clip(known.ppf(np.linspace(0.05, 0.95, 19)), 1e-6, 1 - 1e-6)
    found = np.mean(weights[:, None] <= at, axis=0)
    # Kolmogorov and Smirnov's bound for 1 %; the seeds are fixed.
    assert np.abs(found - known.cdf(at)).max() < 1.63 / np.sqrt(2000)


@pytest.mark.parametrize("weight", [0.0, 0.36, 0.9999, 1.0])
def test_a_box_has_the_part_that_the_weight_leaves(weight: float) -> None:
    boxes = np.stack(
        [draw_box(key_of(n), tf.constant(weight), 20) for n in range(60)]
    )
    assert boxes.min() >= 0
    assert boxes.max() <= 20
    sides = boxes[:, 2:] - boxes[:, :2]
    # sqrt(1 - 0.36) * 20 = 16; clipped at the edges.
    largest = {0.0: 20, 0.36: 16, 0.9999: 0, 1.0: 0}[weight]
    assert sides.max() == largest
    assert sides.min() >= largest // 2
    assert len(np.unique(boxes[:, 0])) > 5 or largest == 0


def element(weights: list[float] | None, boxes: list[list[int]] | None):
    """Returns three examples of 2 x 2 px and the partner of the last."""
    levels = np.array([10, 20, 30, 40], np.float32)
    images = np.broadcast_to(levels[:, None, None, None], (4, 2, 2, 3))
    found = {
        "images": tf.constant(images),
        "labels": tf.constant([0, 1, 2, 3]),
        "mask": tf.ones(4),
    }
    if weights is not None:
        found["weights"] = tf.constant([*weights, 0.5])
    if boxes is not None:
        found["boxes"] = tf.constant([*boxes, [0, 0, 2, 2]])
    return found


def test_mixup_adds_the_next_image() -> None:
    found = mixed(element([1.0, 0.25, 0.0], None))
    assert found["images"][:, 0, 0, 0].numpy().tolist() == [10, 27.5, 40]
    assert found["labels"].numpy().tolist() == [0, 1, 2]
    assert found["labels2"].numpy().tolist() == [1, 2, 3]
    assert found["lambdas"].numpy().tolist() == [1, 0.25, 0]
    assert found.keys() == {"images", "labels", "mask", "labels2", "lambdas"}


def test_cutmix_pastes_a_box_of_the_next_image() -> None:
    found = mixed(element(None, [[0, 0, 1, 1], [0, 1, 2, 2], [1, 1, 1, 2]]))
    expected = [[[20, 10], [10, 10]], [[20, 30], [20, 30]], [[30, 30]] * 2]
    for channel in range(3):
        got = found["images"][..., channel].numpy().tolist()
        assert got == expected
    # One pixel of four, two, and none.
    assert found["lambdas"].numpy().tolist() == [0.75, 0.5, 1]


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_erased_boxes_have_legal_sizes(probability: float) -> None:
    draw = tf.function(
        lambda n: draw_erased_box(tf.stack([5, n]), probability, 100)
    )
    numbers = tf.data.Dataset.range(1000).map(draw)
    boxes = np.stack(list(numbers.as_numpy_iterator()))
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    erased = height > 0
    assert abs(erased.mean() - probability) < 0.05
    if not erased.any():
        return
    boxes, height, width = boxes[erased], height[erased], width[erased]
    assert boxes.min() >= 0
    assert boxes.max() <= 100
    # Sides are rounded to whole pixels.
    assert 0.015 < (height * width).min() / 1e4 < 0.03
    assert 0.31 < (height * width).max() / 1e4 < 0.34
    assert 0.27 < (height / width).min() < 0.33
    assert 3.0 < (height / width).max() < 3.7
    middle = (boxes[:, :2] + boxes[:, 2:]).mean(axis=0) / 2
    np.testing.assert_allclose(middle, 50, atol=3)


def test_erasing_leaves_the_rest_of_the_image() -> None:
    images = tf.zeros((2, 4, 4, 3))
    boxes = tf.constant([[1, 0, 3, 2], [0, 0, 0, 0]])
    keys = tf.stack([key_of(0), key_of(1)])
    found = erase(images, boxes, keys).numpy()
    assert found[0, 1:3, :2].any(axis=-1).all()
    found[0, 1:3, :2] = 0
    assert not found.any()


def test_dropout_drops_its_part_of_the_channels() -> None:
    drawn = draw_dropout(key_of(0), 0.25, 20000).numpy()
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, np.float32([0, 4 / 3]))
    assert abs(counts[0] / 20000 - 0.25) < 0.01
    assert np.any(draw_dropout(key_of(1), 0.25, 20000).numpy() != drawn)


def test_rows_are_followed_by_the_next_partner() -> None:
    order = tf.range(10, dtype=tf.int64)
    rows = shard(8, 4).rows(order, partners=True).numpy()
    assert rows.reshape(2, 4, 3).tolist() == [
        [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 0]],
        [[8, 9, 8], *[[PADDING] * 3] * 3],
    ]
    (second,) = shard(8, 4, 1, 2).rows(order, partners=True).numpy()[None]
    assert second[:6].tolist() == [4, 5, 6, 6, 7, 0]
    alone = shard(3, 3).rows(tf.range(4, dtype=tf.int64), partners=True)
    assert alone.numpy()[6:].tolist() == [3, *[PADDING] * 5]
