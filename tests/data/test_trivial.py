"""TrivialAugment: what is drawn, and the images of a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.support.images import write_image
from trainer.data.batches import training_batches
from trainer.data.colours import OPERATIONS
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.data.trivial import draw_trivial

NAMES = [function.__name__ for function in OPERATIONS]


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The draws of 28,000 samples: matrices, operations, strengths."""
    hashes = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 28_000)
    dataset = tf.data.Dataset.from_tensor_slices(hashes).map(
        lambda h: draw_trivial(3, tf.constant(1, tf.int64), h)
    )
    return tuple(x.numpy() for x in next(iter(dataset.batch(28_000))))


def test_each_operation_is_drawn_equally_often(drawn) -> None:
    matrices, operations, _ = drawn
    # 14 operations; the five geometric ones have the colour identity, too.
    counts = np.bincount(operations, minlength=len(NAMES))
    assert counts[1:] == pytest.approx(2000, abs=5 * math.sqrt(2000))
    assert counts[0] == pytest.approx(12_000, abs=5 * math.sqrt(12_000))
    flips = np.array([[-1, 0, 0], [0, 1, 0]]), np.eye(2, 3)
    still = [(matrices == flip).all(axis=(1, 2)) for flip in flips]
    # Nine of 14 have no geometry.
    assert np.sum(still) == pytest.approx(18_000, abs=5 * math.sqrt(18_000))
    # No colour operation comes with a geometric one.
    assert operations[~np.any(still, axis=0)].max() == 0


def test_one_image_in_two_is_mirrored(drawn) -> None:
    matrices, operations, _ = drawn
    colours = matrices[operations > 0]
    assert np.mean(colours[:, 0, 0] == -1) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("brightness", 0.01, 1.99),
        ("sharpness", 0.01, 1.99),
        ("posterize", 2, 8),
        ("solarize", 0, 256),
    ],
)
def test_strengths_fill_their_range(drawn, name, low, high) -> None:
    _, operations, strengths = drawn
    values = strengths[operations == NAMES.index(name)]
    assert values.min() == pytest.approx(low, abs=0.01 * (high - low))
    assert values.max() == pytest.approx(high, abs=0.01 * (high - low))
    assert values.mean() == pytest.approx((low + high) / 2, rel=0.05)


def test_geometric_strengths(drawn) -> None:
    matrices, operations, _ = drawn
    matrices = matrices[operations == 0]
    flip = np.where(matrices[:, 0, 0] < 0, -1, 1)
    rows = matrices[:, 0] * flip[:, None]
    turned = (matrices[:, 1, 1] != 1) | (matrices[:, 1, 0] != -rows[:, 1])
    # Shears, as nothing else leaves the diagonal at 1.
    sheared = np.abs(rows[~turned, 1])
    assert sheared.max() <= 0.99
    assert np.abs(matrices[..., 2]).max() == pytest.approx(1 / 7, abs=2e-3)
    assert matrices[:, 1, 1].min() == pytest.approx(
        math.cos(math.radians(135)), abs=2e-3
    )


def test_a_draw_is_a_function_of_seed_epoch_and_sample() -> None:
    seen = {
        (seed, epoch, row): tuple(
            float(x)
            for part in draw_trivial(
                seed, tf.constant(epoch, tf.int64), tf.constant(row, tf.int64)
            )
            for x in np.ravel(part)
        )
        for seed in (0, 1)
        for epoch in (0, 1)
        for row in range(20)
    }
    again = draw_trivial(1, tf.constant(0, tf.int64), tf.constant(7, tf.int64))
    assert seen[1, 0, 7] == tuple(
        float(x) for part in again for x in np.ravel(part)
    )
    assert len(set(seen.values())) > 60


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Ten photos as files."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [write_image(folder / f"{i}.png", format="PNG", seed=i)
             for i in range(10)]  # fmt: skip
    return Samples(
        ids=tuple(path.name for path in paths),
        labels=np.zeros(10, np.int32),
        paths=tuple(str(path) for path in paths),
        offsets=np.zeros(10, np.int64),
        lengths=np.full(10, WHOLE_FILE, np.int64),
    )


def images_of(
    samples: Samples, replicas: int, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and matrices of three epochs of three steps of 4."""
    dataset = training_batches(
        samples,
        reading=Reading(image_px=16),
        shard=Shard(
            global_batch=4, num_replicas=replicas, pipeline=0, num_pipelines=1
        ),
        seed=0,
        start_step=start,
        total_steps=9,
        augment=True,
        policy="trivial",
    )
    parts = list(dataset.as_numpy_iterator())
    return tuple(
        np.concatenate([part[name] for part in parts])
        for name in ("images", "matrices")
    )


@pytest.mark.parametrize(("replicas", "start"), [(2, 0), (4, 0), (2, 5)])
def test_pixels_do_not_depend_on_replicas_or_start(samples, replicas, start):
    one, other = images_of(samples, 1), images_of(samples, replicas, start)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a[4 * start :], b)
    # Padding stays black and unmoved.
    assert np.all(one[0][10:12] == 0)
    np.testing.assert_array_equal(one[1][10], np.eye(2, 3))
