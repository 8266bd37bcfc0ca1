"""The order of an epoch, its length, and the shards of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.order import Shard, epoch_order, steps_per_epoch


def test_order_is_a_permutation_of_seed_and_epoch() -> None:
    orders = {}
    for seed in (-1, 0, 1, 2**40):
        for epoch in (0, 1, 2):
            order = epoch_order(100, seed, epoch).numpy()
            assert order.dtype == np.int64
            np.testing.assert_array_equal(np.sort(order), np.arange(100))
            again = tf.function(epoch_order)(
                100, seed, tf.constant(epoch, tf.int64)
            )
            np.testing.assert_array_equal(order, again)
            orders[tuple(order)] = seed, epoch
    assert len(orders) == 12
    # Golden, to notice a version of TensorFlow with another order.
    assert epoch_order(8, 1, 2).numpy().tolist() == [4, 2, 1, 7, 3, 6, 0, 5]


def test_every_sample_appears_at_every_position() -> None:
    orders = np.stack([epoch_order(4, 0, epoch) for epoch in range(400)])
    for row in range(4):
        counts = np.bincount(np.argwhere(orders == row)[:, 1], minlength=4)
        # 100 expected, with a standard deviation of 8.7.
        assert np.abs(counts - 100).max() < 40


@pytest.mark.parametrize(
    ("n", "batch", "steps"),
    [(10, 4, 3), (12, 4, 3), (1, 4, 1), (4, 4, 1), (5, 4, 2)],
)
def test_steps_per_epoch_round_up(n: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(n, batch) == steps


@pytest.mark.parametrize(
    ("batch", "replicas", "p", "of"),
    [(5, 2, 0, 1), (6, 3, 0, 2), (4, 2, 2, 2), (4, 2, -1, 2)],
)
def test_a_shard_that_does_not_divide_is_rejected(
    batch: int, replicas: int, p: int, of: int
) -> None:
    with pytest.raises(ValueError, match="does not divide evenly"):
        Shard(
            global_batch=batch,
            num_replicas=replicas,
            pipeline=p,
            num_pipelines=of,
        )
