"""Mixing, erasing and dropout, as batches have them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from tests.data.test_batches import assert_same, elements, join, shard
from trainer.config.mixing import CUTMIX, MIXUP, Mixing, parse_mix
from trainer.data.batches import training_batches
from trainer.data.erasing import draw_erased_box, erase
from trainer.data.mixing import draw_box, draw_weight, mixed
from trainer.data.order import PADDING, Shard, epoch_order
from trainer.data.reading import Reading
from trainer.data.regularization import NOTHING, Regularization, draw_dropout
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import UsageError

N, PX, CHANNELS = 10, 12, 6
MIXUP_ONE = Mixing(method=MIXUP, alpha=1.0)
CUTMIX_ONE = Mixing(method=CUTMIX, alpha=1.0)
ALL = {
    "mixup": Regularization(mix=MIXUP_ONE),
    "cutmix": Regularization(mix=CUTMIX_ONE, erasing=0.5),
    "erasing": Regularization(erasing=0.5),
    "dropout": Regularization(dropout=0.25, channels=CHANNELS),
    "all": Regularization(
        mix=MIXUP_ONE, erasing=0.5, dropout=0.25, channels=CHANNELS
    ),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Ten images of noise; the label of a row is its number."""
    folder = tmp_path_factory.mktemp("noise")
    noise = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(N)]
    for path in paths:
        pixels = noise.integers(0, 256, (PX, PX, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return Samples(
        ids=tuple(path.name for path in paths),
        labels=np.arange(N, dtype=np.int32),
        paths=tuple(str(path) for path in paths),
        offsets=np.zeros(N, np.int64),
        lengths=np.full(N, WHOLE_FILE, np.int64),
    )


def pixels_of(samples: Samples) -> np.ndarray:
    """Returns the images as they are, float32 (N, PX, PX, 3)."""
    images = [np.asarray(Image.open(path)) for path in samples.paths]
    return np.stack(images).astype(np.float32)


@functools.cache
def train(
    samples: Samples,
    part: Shard,
    regularization: Regularization,
    *,
    seed: int = 0,
    start: int = 0,
    total: int = 6,
    augment: bool = True,
    policy: str = "tutorial",
) -> list[dict[str, np.ndarray]]:
    """Reads training batches; by default two epochs of three steps."""
    return elements(
        training_batches(
            samples,
            reading=Reading(image_px=PX),
            shard=part,
            seed=seed,
            start_step=start,
            total_steps=total,
            augment=augment,
            policy=policy,
            regularization=regularization,
        )
    )


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


@pytest.mark.parametrize("alpha", [0.001, 0.1, 1.0, 1000.0])
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


@pytest.mark.parametrize(
    ("count", "batch"),
    [
        (9, 4),
        *(
            pytest.param(*sizes, marks=pytest.mark.slow)
            for sizes in ((10, 4), (3, 8), (1, 4))
        ),
    ],
)
def test_padding_is_never_a_partner(
    samples: Samples, count: int, batch: int
) -> None:
    few = samples.take(range(count))
    for mix in (MIXUP_ONE, CUTMIX_ONE):
        parts = train(few, shard(batch), Regularization(mix=mix), total=4)
        steps = -(-count // batch)
        for number, part in enumerate(parts):
            epoch, step = divmod(number, steps)
            order = epoch_order(count, 0, epoch).numpy()
            rows = order[step * batch :][:batch]
            real, padding = len(rows), batch - len(rows)
            assert part["mask"].tolist() == [1] * real + [0] * padding
            assert part["labels"].tolist() == [*rows, *[0] * padding]
            nexts = np.roll(rows, -1)
            assert part["labels2"].tolist() == [*nexts, *[0] * padding]
            alone = part["lambdas"][0 if real == 1 else real :]
            assert np.all(alone == 1)
            assert not part["images"][real:].any()
            if real > 1:
                assert np.all(part["lambdas"][:real] != 1) or mix is CUTMIX_ONE


@pytest.mark.parametrize("mix", [MIXUP_ONE, CUTMIX_ONE], ids=lambda m: m.method)
def test_pixels_are_those_of_both_images(samples: Samples, mix: Mixing) -> None:
    plain = pixels_of(samples)
    parts = train(samples, shard(), Regularization(mix=mix), augment=False)
    shares = []
    for part in parts:
        for i in range(int(part["mask"].sum())):
            own, other = plain[part["labels"][i]], plain[part["labels2"][i]]
            weight, got = part["lambdas"][i], part["images"][i]
            if mix is MIXUP_ONE:
                one = np.float32(1)
                expected = weight * own + (one - weight) * other
                np.testing.assert_array_equal(got, expected)
            else:
                is_own = (got == own).all(axis=-1)
                is_other = (got == other).all(axis=-1)
                assert np.all(is_own | is_other)
                assert is_own.mean() == pytest.approx(weight, abs=1e-6)
            shares.append(weight)
    assert np.std(shares) > 0.1


def test_erasing_fills_a_box_with_whole_numbers(samples: Samples) -> None:
    plain = pixels_of(samples)
    parts = train(samples, shard(), Regularization(erasing=0.5), augment=False)
    erased = 0
    for part in parts:
        for i in range(int(part["mask"].sum())):
            changed = (part["images"][i] != plain[part["labels"][i]]).any(-1)
            if not changed.any():
                continue
            erased += 1
            rows, columns = np.nonzero(changed)
            box = changed[
                rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
            ]
            # Noise equals a pixel in all channels once in 16 million.
            assert box.all()
            pixels = part["images"][i]
            assert np.all(pixels == np.round(pixels))
            assert pixels.min() >= 0
            assert pixels.max() <= 255
    # Of 20 images, with a probability of one half.
    assert 5 <= erased <= 15


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
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


SHARDS = {
    "2_replicas": [shard(4, 2)],
    "4_replicas": [shard(4, 4)],
    "4_replicas_on_2_pipelines": [shard(4, 4, p, 2) for p in (0, 1)],
    "2_replicas_on_2_pipelines": [shard(4, 2, p, 2) for p in (0, 1)],
}


# Each case traces a data set, which takes most of a second.
QUICK = ("all", "4_replicas_on_2_pipelines")


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        pytest.param(
            name,
            shards,
            marks=[] if (name, key) == QUICK else [pytest.mark.slow],
            id=f"{name}-{key}",
        )
        for name in ALL
        for key, shards in SHARDS.items()
    ],
)
def test_replicas_read_the_same_pixels(
    samples: Samples, name: str, shards: list[Shard]
) -> None:
    parts = [train(samples, part, ALL[name]) for part in shards]
    assert_same(join(shards, parts), train(samples, shard(), ALL[name]))


@pytest.mark.slow
@pytest.mark.parametrize("start", [1, 3, 5])
@pytest.mark.parametrize("name", ALL)
def test_a_later_start_changes_nothing(
    samples: Samples, name: str, start: int
) -> None:
    whole = train(samples, shard(4, 2), ALL[name])
    later = train(samples, shard(4, 2), ALL[name], start=start)
    assert_same(later, whole[2 * start :])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_seed_and_epoch_decide_what_is_drawn(
    samples: Samples, name: str
) -> None:
    # One batch with all samples: rows differ in their order only.
    one, two = train(samples, shard(10), ALL[name], total=2)
    (other,) = train(samples, shard(10), ALL[name], seed=1, total=1)
    for key in {"lambdas", "dropout", "images"} & one.keys():
        if key == "images" and name == "dropout":
            continue
        by_label = [
            part[key][np.argsort(part["labels"])] for part in (one, two, other)
        ]
        assert np.any(by_label[0] != by_label[1])
        assert np.any(by_label[0] != by_label[2])


def test_nothing_is_added_without_the_flags(samples: Samples) -> None:
    (part,) = train(samples, shard(), NOTHING, total=1)
    assert part.keys() == {"images", "labels", "mask", "matrices"}
    (part,) = train(samples, shard(), ALL["all"], total=1)
    assert part.keys() == {"images", "labels", "mask"} | {
        *("labels2", "lambdas", "dropout")
    }
    assert part["dropout"].shape == (4, CHANNELS)


@pytest.mark.slow
def test_mixing_takes_partners_as_they_are_trained(samples: Samples) -> None:
    """The partner has its own augmentation and its own erased box."""
    erasing = Regularization(erasing=0.5)
    both = dataclasses.replace(erasing, mix=MIXUP_ONE)
    for alone, part in zip(
        train(samples, shard(), erasing, policy="trivial"),
        train(samples, shard(), both, policy="trivial"),
        strict=True,
    ):
        real = int(part["mask"].sum())
        own = alone["images"][:real]
        weight = part["lambdas"][:real, None, None, None]
        expected = weight * own + (1 - weight) * np.roll(own, -1, axis=0)
        np.testing.assert_array_equal(part["images"][:real], expected)


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
