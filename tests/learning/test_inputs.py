"""The inputs of a stage: cached features, cached images, trunk output."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import TINY_PX, tiny_classifier
from tests.support.image_blocks import image_blocks
from tests.support.inputs import Made
from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.cache import CacheFolder, RowCache
from trainer.data.batches import evaluation_batches, training_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.learning import inputs as inputs_module
from trainer.learning import stage_trunk
from trainer.model.classifier import make_classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import Partition, partition_classifier


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Fifteen photos of three classes."""
    folder = make_photos(tmp_path_factory.mktemp("photos"), train=5, test=2)
    return build(folder, data_pct=100).train


@pytest.fixture(scope="module")
def partition() -> Partition:
    """The last convolution and its BatchNorm train."""
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "last:2")
    found = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert found is not None
    assert found.cut == ("relu",)
    return found


def kinds(reading: Reading) -> set[str]:
    """Returns the names of the parts that a reading has."""
    parts = ("images", "trunk", "features")
    return {name for name in parts if getattr(reading, name) is not None}


@pytest.mark.parametrize("mode", ["ram", "off"])
@pytest.mark.parametrize(
    ("cut", "call", "kept", "plain"),
    [
        (True, "train", {"features"}, {"trunk"}),
        (True, "augmented", {"images", "trunk"}, {"trunk"}),
        (True, "again", {"features"}, {"trunk"}),
        (True, "once", {"features"}, {"trunk"}),
        (False, "train", {"images"}, set()),
        (False, "augmented", {"images"}, set()),
        (False, "again", {"images"}, set()),
        # Images that are read once are not cached.
        (False, "once", set(), set()),
    ],
)
def test_a_reading_has_features_images_or_trunk(
    samples: Samples,
    partition: Partition,
    mode: str,
    cut: bool,
    call: str,
    kept: set[str],
    plain: set[str],
) -> None:
    inputs = Made(partition if cut else None, mode).inputs
    if call in ("train", "augmented"):
        reading = inputs.training(samples, augment=call == "augmented")
    else:
        reading = inputs.evaluation(samples, again=call == "again")
    assert kinds(reading) == (kept if mode == "ram" else plain)


def test_samples_without_digests_are_not_cached(
    samples: Samples, partition: Partition
) -> None:
    unchecked = dataclasses.replace(samples, digests=())
    inputs = Made(partition, "ram").inputs
    assert kinds(inputs.training(unchecked, augment=False)) == {"trunk"}


def _elements(dataset: tf.data.Dataset) -> list[dict[str, Any]]:
    return list(dataset.as_numpy_iterator())


@pytest.mark.parametrize(
    ("engine", "dtype"),
    [("graph", "float32"), ("litert", "float32"), ("graph", "float16")],
)
@pytest.mark.parametrize("call", ["train", "augmented", "evaluate"])
def test_batches_are_bit_identical_with_and_without_cache(
    samples: Samples, partition: Partition, call: str, engine: str, dtype: str
) -> None:
    """A batch of 4 of 15 samples, the last one of each epoch padded."""
    found = []
    for mode in ("off", "ram"):
        inputs = Made(
            partition, mode, engine=engine, feature_dtype=dtype
        ).inputs
        shard = Shard(global_batch=4, num_replicas=2)
        if call == "evaluate":
            dataset = evaluation_batches(
                samples,
                reading=inputs.evaluation(samples, again=True),
                shard=shard,
            )
        else:
            augment = call == "augmented"
            dataset = training_batches(
                samples,
                reading=inputs.training(samples, augment=augment),
                shard=shard,
                seed=0,
                start_step=2,
                total_steps=9,
                augment=augment,
            )
        found.append(_elements(dataset))
    off, ram = found
    assert len(off) == len(ram) == (8 if call == "evaluate" else 14)
    for one, two in zip(off, ram, strict=True):
        assert set(one) == set(two) == {"features", "labels", "mask"}
        np.testing.assert_array_equal(one["labels"], two["labels"])
        np.testing.assert_array_equal(one["mask"], two["mask"])
        real = one["mask"] > 0
        for mine, theirs in zip(one["features"], two["features"], strict=True):
            assert mine.shape == (2, *partition.feature_shapes[0])
            assert mine.dtype == theirs.dtype == np.float32
            if dtype == "float16":
                whole = mine.astype(np.float16).astype(np.float32)
                np.testing.assert_array_equal(mine, whole)
            np.testing.assert_array_equal(mine[real], theirs[real])
            assert np.isfinite(mine).all()
            assert np.isfinite(theirs).all()


def test_features_are_those_of_the_images(
    samples: Samples, partition: Partition
) -> None:
    """In the order of the samples, by the split itself."""
    made = Made(partition, "ram")
    reading = made.inputs.evaluation(samples, again=True)
    assert reading.features is not None
    (found,) = reading.features.read(np.arange(15))
    rows = np.arange(15)
    (images,) = image_blocks(
        samples, rows, image_px=TINY_PX, block=15
    ).as_numpy_iterator()
    assert images.dtype == np.uint8
    (expected,) = partition.trunk(
        partition.trunk_constants(), tf.constant(images, tf.float32)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert made.reports == [("features of evaluation", 15, 15)]


def test_a_failing_litert_is_warned_of_once(
    samples: Samples, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("gives other features than the graph")

    monkeypatch.setattr(stage_trunk, "lite_trunk", fail)
    made = Made(partition, "off", engine="litert")
    readings = [
        made.inputs.training(samples, augment=True),
        made.inputs.evaluation(samples, again=True),
    ]
    assert [reading.trunk.name for reading in readings] == ["graph", "graph"]
    assert made.warnings == [
        "--trunk_engine=litert: the frozen part gives other features than the"
        " graph; falling back to graph, so the last bits may differ"
    ]


def test_features_of_a_failing_litert_have_the_graphs_key(
    samples: Samples,
    partition: Partition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And are found there by a run that asks for the graph."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("cannot be converted (why)")

    monkeypatch.setattr(stage_trunk, "lite_trunk", fail)
    made = Made(partition, "ram", engine="litert")
    first = made.inputs.training(samples, augment=False)
    other = Made(partition, "ram", engine="graph")
    other.inputs._fill.cache = made.inputs._fill.cache
    second = other.inputs.training(samples, augment=False)
    assert len(made.reports) == 1
    assert other.reports == []
    for mine, theirs in zip(
        first.features.read(np.arange(15)),
        second.features.read(np.arange(15)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("engine", ["graph", "litert"])
def test_cached_features_need_no_trunk(
    samples: Samples,
    partition: Partition,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
) -> None:
    made = Made(partition, "ram", engine=engine)
    made.inputs.training(samples, augment=False)
    again = Made(partition, "ram", engine=engine)
    again.inputs._fill.cache = made.inputs._fill.cache

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a trunk was made")

    monkeypatch.setattr(stage_trunk, "lite_trunk", fail)
    monkeypatch.setattr(stage_trunk, "GraphTrunk", fail)
    reading = again.inputs.training(samples, augment=False)
    assert kinds(reading) == {"features"}
    assert again.reports == []
    with pytest.raises(AssertionError, match="a trunk was made"):
        again.inputs.training(samples, augment=True)


def test_float16_halves_the_cached_features_and_rounds(
    samples: Samples, partition: Partition
) -> None:
    found = {}
    for dtype in ("float32", "float16"):
        inputs = Made(partition, "ram", feature_dtype=dtype).inputs
        reading = inputs.evaluation(samples, again=True)
        assert reading.features is not None
        (found[dtype],) = reading.features.read(np.arange(15))
    assert found["float16"].nbytes * 2 == found["float32"].nbytes
    np.testing.assert_array_equal(
        found["float16"], found["float32"].astype(np.float16)
    )
    assert (found["float16"] != found["float32"]).any()


@pytest.mark.parametrize("change", ["engine", "machine", "feature_dtype"])
def test_the_cache_key_has_all_that_changes_bits(
    samples: Samples,
    partition: Partition,
    tmp_path: pathlib.Path,
    change: str,
) -> None:
    """Features of another engine or machine are never taken for these."""

    def computed(**values: Any) -> int:
        made = Made(partition, "off", **values)
        made.inputs._fill.cache = RowCache(
            mode="disk",
            disk=CacheFolder(str(tmp_path), disk_bytes=10**8),
            ram_bytes=10**8,
        )
        made.inputs.evaluation(samples, again=True)
        return len(made.reports)

    assert computed() == 1
    assert computed() == 0
    assert computed(block=2) == 0
    other = {
        "engine": "litert",
        "machine": "that one",
        "feature_dtype": "float16",
    }[change]
    assert computed(**{change: other}) == 1


def test_a_changed_image_in_a_later_block_is_named(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs_module, "_ROWS_PER_BLOCK", 4)
    digests = (*samples.digests[:9], "of another image", *samples.digests[10:])
    changed = dataclasses.replace(samples, digests=digests)
    with pytest.raises(TrainerError) as caught:
        Made(None, "ram").inputs.training(changed, augment=False)
    assert str(caught.value).startswith(f"{samples.paths[9]}: changed after")


def test_features_of_several_shapes_are_computed_ahead(
    samples: Samples,
) -> None:
    """The cut of a squeeze-and-excite block has two tensors."""
    inputs = keras.Input((TINY_PX, TINY_PX, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(inputs)
    squeeze = keras.layers.GlobalAveragePooling2D(keepdims=True)
    gate = keras.layers.Conv2D(4, 1, name="gate")(squeeze(x))
    backbone = keras.Model(inputs, keras.layers.Multiply()([x, gate]))
    classifier = make_classifier(backbone, pixels="raw", num_classes=3, seed=0)
    plan = freeze_plan(classifier, "from:gate")
    partition = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert partition is not None
    assert len(partition.feature_shapes) == 2
    made = Made(partition, "ram")
    reading = made.inputs.evaluation(samples, again=False)
    assert reading.features is not None
    found = reading.features.read(np.arange(len(samples)))
    assert [part.shape[1:] for part in found] == list(partition.feature_shapes)
    (images,) = image_blocks(
        samples, np.arange(15), image_px=TINY_PX, block=15
    ).as_numpy_iterator()
    expected = partition.trunk(
        [tf.constant(a) for a in partition.trunk_constants()],
        tf.cast(images, tf.float32),
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-4)
