"""Mixing, erasing and dropout, as batches have them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from PIL import Image

from tests.data.test_batches import assert_same, elements, join, shard
from tests.support.params import slow
from trainer.config.mixing import CUTMIX, MIXUP, Mixing
from trainer.data.batches import training_batches
from trainer.data.order import Shard, epoch_order
from trainer.data.reading import Reading
from trainer.data.regularization import NOTHING, Regularization
from trainer.data.samples import WHOLE_FILE, Samples

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


@pytest.mark.parametrize(
    ("count", "batch"),
    [
        (N, 4),
        *(
            pytest.param(*sizes, marks=pytest.mark.slow)
            for sizes in ((9, 4), (3, 8), (1, 4))
        ),
    ],
)
def test_padding_is_never_a_partner(
    samples: Samples, count: int, batch: int
) -> None:
    few = samples if count == N else samples.take(range(count))
    for mix in (MIXUP_ONE, CUTMIX_ONE):
        change = Regularization(mix=mix)
        parts = train(few, shard(batch), change, augment=False)
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


SHARDS = {
    "2_replicas": [shard(4, 2)],
    "4_replicas": [shard(4, 4)],
    "4_replicas_on_2_pipelines": [shard(4, 4, p, 2) for p in (0, 1)],
    "2_replicas_on_2_pipelines": [shard(4, 2, p, 2) for p in (0, 1)],
}


# Each case traces a data set, which takes most of a second.
@pytest.mark.parametrize(
    ("name", "key"),
    [
        *slow(
            ("all", "4_replicas_on_2_pipelines"),
            ("all", "2_replicas"),
            ("all", "2_replicas_on_2_pipelines"),
            ("cutmix", "4_replicas"),
            ("cutmix", "4_replicas_on_2_pipelines"),
        ),
    ],
)
def test_replicas_read_the_same_pixels(
    samples: Samples, name: str, key: str
) -> None:
    shards = SHARDS[key]
    parts = [train(samples, part, ALL[name]) for part in shards]
    assert_same(join(shards, parts), train(samples, shard(), ALL[name]))


@pytest.mark.parametrize(
    ("name", "start"), [("all", 4), *slow(("all", 1), ("cutmix", 3))]
)
def test_a_later_start_changes_nothing(
    samples: Samples, name: str, start: int
) -> None:
    later = train(samples, shard(), ALL[name], start=start)
    assert_same(later, train(samples, shard(), ALL[name])[start:])


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
    part, *_ = train(samples, shard(), ALL["all"])
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
