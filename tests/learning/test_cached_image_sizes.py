"""One cache serves stages of several image sizes, each with its own rows."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from tests.support.image_blocks import image_blocks
from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.cache import CacheFolder, FileCache, RowCache
from trainer.data.samples import Samples
from trainer.learning.inputs import Inputs
from trainer.model.classifier import make_classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import Partition, partition_classifier

SIZES = (8, 12)
_MIB = 2**20


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = make_photos(tmp_path_factory.mktemp("photos"), train=5, test=2)
    return build(folder, data_pct=100).train


def pooled_partition(image_px: int) -> Partition:
    """Returns a partition whose features have the same shape at any size."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((image_px, image_px, 3), name="input")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = keras.layers.Conv2D(5, 1, name="top_conv")(x)
    classifier = make_classifier(
        keras.Model(inputs, x, name="tiny"), pixels="tf", num_classes=3, seed=0
    )
    plan = freeze_plan(classifier, "last:1")
    found = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert found is not None
    return found


class Stages:
    """Inputs of several image sizes that share one cache."""

    def __init__(self, folder: pathlib.Path, mode: str) -> None:
        self.warnings: list[str] = []
        self.computed = 0
        disk = CacheFolder(str(folder), disk_bytes=64 * _MIB)
        self._cache = RowCache(mode=mode, disk=disk, ram_bytes=64 * _MIB)

    def _report(self, what: str, done: int, total: int) -> None:
        self.computed += 1

    def inputs(self, image_px: int, partition: Partition | None) -> Inputs:
        return Inputs(
            partition,
            image_px=image_px,
            engine="graph",
            block=4,
            feature_dtype="float32",
            kernel="projective",
            cache=self._cache,
            files=FileCache(None),
            decode_cache=True,
            machine="this one",
            warn=self.warnings.append,
            report=self._report,
        )


@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_images_of_two_sizes_share_a_cache(
    tmp_path: pathlib.Path, samples: Samples, mode: str
) -> None:
    stages = Stages(tmp_path, mode)
    rows = np.arange(len(samples.digests))
    for turn in range(2):
        stages.computed = 0
        for image_px in SIZES:
            reading = stages.inputs(image_px, None).training(
                samples, augment=False
            )
            assert reading.images is not None
            (found,) = reading.images.read(rows)
            expected = image_blocks(samples, rows, image_px=image_px, block=15)
            np.testing.assert_array_equal(
                found, next(iter(expected.as_numpy_iterator()))
            )
        assert (stages.computed > 0) == (turn == 0)
    assert stages.warnings == []


@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_features_of_two_image_sizes_share_a_cache(
    tmp_path: pathlib.Path, samples: Samples, mode: str
) -> None:
    shared = Stages(tmp_path / "shared", mode)
    rows = np.arange(len(samples.digests))
    found = {}
    for image_px in SIZES:
        partition = pooled_partition(image_px)
        arrays = []
        for stages in (shared, Stages(tmp_path / str(image_px), "ram")):
            reading = stages.inputs(image_px, partition).training(
                samples, augment=False
            )
            assert reading.features is not None
            (array,) = reading.features.read(rows)
            arrays.append(array)
        np.testing.assert_array_equal(*arrays)
        found[image_px] = arrays[0]
    small, large = found.values()
    assert small.shape == large.shape
    assert not np.array_equal(small, large)
    assert shared.warnings == []
