"""Cached features of augmented views, compared with those of training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.support.classifiers import tiny_classifier
from tests.support.inputs import Made
from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.data.batches import training_batches
from trainer.data.order import Shard, epoch_order
from trainer.data.samples import Samples
from trainer.errors import UsageError
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import Partition, partition_classifier

SEED, EPOCHS = 3, 3


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = make_photos(tmp_path_factory.mktemp("photos"), train=5, test=2)
    return build(folder, data_pct=100).train


@pytest.fixture(scope="module")
def partition() -> Partition:
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "none")
    found = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert found is not None
    return found


def trained_on(samples: Samples, inputs, **values) -> np.ndarray:
    """Returns the features of each epoch, in the order of the samples.

    As training reads them: (epochs, samples, channels).
    """
    dataset = training_batches(
        samples,
        shard=Shard(global_batch=len(samples), num_replicas=1),
        seed=SEED,
        start_step=0,
        total_steps=EPOCHS,
        **values,
    )
    found = []
    for epoch, batch in enumerate(dataset.as_numpy_iterator()):
        order = epoch_order(len(samples), SEED, epoch).numpy()
        rows = np.empty_like(batch["features"][0])
        rows[order] = batch["features"][0]
        found.append(rows)
    return np.stack(found)


@pytest.mark.parametrize("decode_cache", [True, False])
def test_view_k_is_the_augmentation_of_epoch_k(
    samples: Samples, partition: Partition, decode_cache: bool
) -> None:
    made = Made(partition, "ram", decode_cache=decode_cache)
    expected = trained_on(
        samples,
        made.inputs,
        reading=Made(partition, "off").inputs.training(samples, augment=True),
        augment=True,
    )
    cached = made.inputs.views(
        samples, EPOCHS, seed=SEED, policy="tutorial", plain=True
    )
    (found,) = cached.read(np.arange(len(samples) * (EPOCHS + 1)))
    plain, *views = found.reshape(EPOCHS + 1, len(samples), -1)
    np.testing.assert_array_equal(np.stack(views), expected)
    reading = made.inputs.training(samples, augment=False)
    assert reading.features is not None
    np.testing.assert_array_equal(
        plain, reading.features.read(np.arange(len(samples)))[0]
    )
    assert np.abs(expected[0] - expected[1]).max() > 0.01


@pytest.mark.parametrize(("count", "shown"), [(2, [0, 1, 0]), (3, [0, 1, 2])])
def test_epochs_read_the_views_in_turn(
    samples: Samples, partition: Partition, count: int, shown: list[int]
) -> None:
    inputs = Made(partition, "ram").inputs
    cached = inputs.views(samples, count, seed=SEED, policy="tutorial")
    reading = dataclasses.replace(
        inputs.training(samples, augment=False), features=cached, views=count
    )
    found = trained_on(samples, inputs, reading=reading, augment=False)
    (rows,) = cached.read(np.arange(len(samples) * count))
    views = rows.reshape(count, len(samples), -1)
    np.testing.assert_array_equal(found, views[shown])


def test_views_depend_on_id_seed_and_kernel_alone(
    samples: Samples, partition: Partition
) -> None:
    made = Made(partition, "ram")
    first = made.inputs.views(samples, 2, seed=SEED, policy="tutorial")
    reports = len(made.reports)
    # Fewer views, and a subset, are found.
    half = samples.take(range(7))
    again = made.inputs.views(half, 1, seed=SEED, policy="tutorial")
    assert len(made.reports) == reports
    np.testing.assert_array_equal(
        first.read(np.arange(7))[0], again.read(np.arange(7))[0]
    )
    # The same image under another id is another sample.
    twin = dataclasses.replace(
        samples, ids=tuple(f"twin/{name}" for name in samples.ids)
    )
    for changed, seed in ((samples, SEED + 1), (twin, SEED)):
        other = made.inputs.views(changed, 1, seed=seed, policy="tutorial")
        rows = np.arange(len(samples))
        assert (first.read(rows)[0] != other.read(rows)[0]).any(axis=1).all()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("ram", "take 1 MiB, but the cache may take 0 in memory"),
        ("off", "take 1 MiB, but the cache is off"),
    ],
)
def test_views_that_do_not_fit_are_refused_before_any_work(
    samples: Samples, partition: Partition, mode: str, words: str
) -> None:
    made = Made(partition, mode)
    (shape,) = partition.feature_shapes
    made.inputs._fill.cache._ram_bytes = 4 * 15 * 2 * shape[0] - 1
    with pytest.raises(UsageError, match=f"^--head_views=2: .*{words}"):
        made.inputs.views(samples, 2, seed=SEED, policy="tutorial")
    assert made.reports == []


def test_without_a_trunk_there_are_no_views(samples: Samples) -> None:
    with pytest.raises(UsageError, match="--head_views=2: the step computes"):
        Made(None, "ram").inputs.views(samples, 2, seed=SEED, policy="tutorial")
