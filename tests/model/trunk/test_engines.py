"""Engines of the trunk: features do not depend on an image's batch."""

from __future__ import annotations

import functools
import pathlib
import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    live_classifier,
    pictures,
    tiny_classifier,
    tiny_images,
)
from trainer.cache import CacheFolder, FileCache
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.cut import find_cut
from trainer.model.trunk.engines import (
    GraphTrunk,
    LiteTrunk,
    RoundedTrunk,
    block_of,
    lite_trunk,
    trunk_key,
)
from trainer.model.trunk.partition import (
    Partition,
    partition_at,
    partition_classifier,
)

EFFICIENTNET = pytest.param("EfficientNetB0", marks=pytest.mark.slow)
LITE = pytest.param("EfficientNetLite0", marks=pytest.mark.slow)
BACKBONES = pytest.mark.parametrize("name", ["MobileNetV2", EFFICIENTNET])
TINY = "tiny"


@functools.lru_cache(maxsize=4)
def partition_of(
    name: str = "MobileNetV2",
    unfreeze: str = "last:10",
    folded: bool = True,
    seed: int = 0,
) -> Partition:
    """The partition of a live classifier at 32 px, or of the tiny one."""
    classifier = (
        tiny_classifier(seed=seed)
        if name == TINY
        else live_classifier(name, num_classes=3, seed=seed)
    )
    plan = freeze_plan(classifier, unfreeze)
    partition = partition_classifier(classifier, plan, fold_batch_norm=folded)
    assert partition is not None
    assert partition.cut
    return partition


NOWHERE = FileCache(None)


def cache_in(folder: pathlib.Path) -> FileCache:
    return FileCache(CacheFolder(str(folder), disk_bytes=10**9))


def make_lite(
    name: str = "MobileNetV2",
    cache: FileCache = NOWHERE,
    machine: str = "this one",
) -> LiteTrunk:
    partition = partition_of(name, "last:2" if name == TINY else "last:10")
    return lite_trunk(partition, cores=2, cache=cache, machine=machine)


lite = functools.cache(make_lite)


def assert_same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@BACKBONES
@pytest.mark.slow
def test_features_do_not_depend_on_the_rest_of_a_block(name: str) -> None:
    """Tests positions in a block, other images in it, and block sizes.

    The processor decides whether another size changes the last bits.
    """
    images = pictures(7)
    partition = partition_of(name)
    one_by_one = GraphTrunk(partition, block=1)(images)
    assert [f.shape[1:] for f in one_by_one] == list(partition.feature_shapes)
    assert min(np.abs(f).max() for f in one_by_one) > 1e-3
    trunk = GraphTrunk(partition, block=4)
    in_fours = trunk(images)
    for mine, theirs in zip(in_fours, one_by_one, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, atol=5e-5 * scale)
    order = np.array([6, 2, 0, 5, 1, 3, 4])
    assert_same(trunk(images[order]), [f[order] for f in in_fours])
    for count in (1, 3):
        assert_same(trunk(images[:count]), [f[:count] for f in in_fours])


@BACKBONES
def test_the_graph_computes_what_the_partition_does(name: str) -> None:
    images = pictures(3)
    partition = partition_of(name)
    eager = partition.trunk(partition.trunk_constants(), tf.constant(images))
    for mine, theirs in zip(
        GraphTrunk(partition, block=2)(images), eager, strict=True
    ):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, atol=5e-5 * scale)


@pytest.mark.parametrize("name", ["MobileNetV2", EFFICIENTNET, LITE])
def test_litert_is_near_the_graph(name: str) -> None:
    images = pictures(3, seed=3)
    for mine, theirs in zip(
        lite(name)(images),
        GraphTrunk(partition_of(name), block=1)(images),
        strict=True,
    ):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, atol=1e-4 * scale)


def test_litert_in_two_threads() -> None:
    images = pictures(6)
    alone = lite()(images)
    begin = threading.Barrier(2, timeout=60)
    found: dict[int, list[np.ndarray]] = {}

    def call(start: int) -> None:
        begin.wait()
        for _ in range(5):
            found[start] = lite()(images[start : start + 3])

    threads = [threading.Thread(target=call, args=(s,)) for s in (0, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start in (0, 3):
        assert_same(found[start], [f[start : start + 3] for f in alone])


@pytest.mark.slow
def test_an_interpreter_comes_back_after_an_error() -> None:
    trunk = make_lite(TINY)
    for _ in range(2):
        with pytest.raises(ValueError, match="Dimension mismatch"):
            trunk(np.zeros((1, 5, 5, 3), np.float32))
    assert len(trunk(tiny_images(1))) == len(partition_of(TINY, "last:2").cut)


@pytest.mark.parametrize(
    ("message", "reason"),
    [("bad op\nand more", "bad op"), ("", "RuntimeError")],
)
def test_a_failing_converter_is_reported(
    monkeypatch: pytest.MonkeyPatch, message: str, reason: str
) -> None:
    def convert(self: Any) -> bytes:
        raise RuntimeError(message)

    _patch_conversion(monkeypatch, convert)
    with pytest.raises(
        ValueError, match=rf"^cannot be converted \({reason}\)$"
    ):
        make_lite()


def _patch_conversion(monkeypatch: pytest.MonkeyPatch, convert: Any) -> None:
    """Replaces the conversion, whatever class of converter is created."""
    real = tf.lite.TFLiteConverter.from_concrete_functions

    def make(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        made.convert = lambda: convert(made)
        return made

    monkeypatch.setattr(
        tf.lite.TFLiteConverter, "from_concrete_functions", make
    )


@pytest.mark.parametrize("error", [1.001, np.nan], ids=["scaled", "nan"])
def test_litert_with_other_features_is_rejected(
    monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    real = tf.lite.Interpreter.get_tensor
    monkeypatch.setattr(
        tf.lite.Interpreter,
        "get_tensor",
        lambda self, index: real(self, index) * np.float32(error),
    )
    with pytest.raises(
        ValueError, match=r"^computes other features than TensorFlow$"
    ):
        make_lite()


@pytest.mark.slow
def test_a_converted_trunk_is_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """It is converted again for another machine, or if the cache is damaged."""
    conversions = 0

    def convert(made: Any) -> bytes:
        nonlocal conversions
        conversions += 1
        return type(made).convert(made)

    _patch_conversion(monkeypatch, convert)
    cache = cache_in(tmp_path)
    images = tiny_images(2)
    first = make_lite(TINY, cache=cache)(images)
    assert conversions == 1
    assert_same(make_lite(TINY, cache=cache)(images), first)
    assert conversions == 1
    make_lite(TINY, cache=cache, machine="another")
    assert conversions == 2
    for content in tmp_path.rglob("content"):
        content.write_bytes(content.read_bytes()[:-1] + b"?")
    assert_same(make_lite(TINY, cache=cache)(images), first)
    assert conversions == 3


def test_a_failed_trunk_is_not_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            tf.lite.Interpreter,
            "get_tensor",
            lambda self, index: np.zeros((1, 2), np.float32),
        )
        with pytest.raises(ValueError, match="other features"):
            make_lite(cache=cache_in(tmp_path))
    assert not list(tmp_path.rglob("content"))


def test_rounding_to_float16() -> None:
    class Given:
        name, block = "graph", 3

        def __call__(self, images: np.ndarray) -> list[np.ndarray]:
            return [images, 2 * images]

    # Eleven bits of mantissa; 65504 is the largest.
    images = np.array([1 + 2**-11, 1 + 2**-10, 65504, 65520, -1e9], np.float32)
    rounded = RoundedTrunk(Given())
    assert (rounded.name, rounded.block) == ("graph", 3)
    one, two = rounded(images)
    assert one.dtype == two.dtype == np.float32
    assert one.tolist() == [1, 1 + 2**-10, 65504, 65504, -65504]
    assert two.tolist() == [2, 2 + 2**-9, 65504, 65504, -65504]


def test_a_trunk_is_a_snapshot_of_the_weights() -> None:
    """Values assigned later do not change its features."""
    partition = partition_of(seed=1)
    trunk = GraphTrunk(partition, block=1)
    before, key = trunk(pictures(1)), trunk_key(partition)
    (name,) = (
        name
        for name in partition.classifier.variables
        if name.endswith("Conv1/kernel")
    )
    variable = partition.classifier.variables[name]
    saved = variable.numpy()
    variable.assign(saved * 1.5)
    try:
        assert_same(trunk(pictures(1)), before)
        assert trunk_key(partition) != key
        other = GraphTrunk(partition, block=1)(pictures(1))
        assert np.abs(other[0] - before[0]).max() > 1e-3
    finally:
        variable.assign(saved)
    assert trunk_key(partition) == key


@pytest.mark.slow
def test_the_key_depends_on_weights_cut_and_folding() -> None:
    partition = partition_of(TINY, "last:2")
    keys = [
        trunk_key(partition),
        trunk_key(partition_of(TINY, "none")),
        trunk_key(partition_of(TINY, "last:2", folded=False)),
        trunk_key(partition_of(TINY, "last:2", seed=1)),
    ]
    assert len({str(key) for key in keys}) == 4
    # The key does not depend on the head.
    head = partition.classifier.head
    head.kernel.assign(head.kernel * 2.0)
    assert trunk_key(partition) == keys[0]


@pytest.mark.slow
def test_the_key_ignores_layers_after_the_cut() -> None:
    """A stage that shares a later stage's cut shares its cached features."""
    classifier = live_classifier("EfficientNetB0", num_classes=3)
    later = freeze_plan(classifier, "last:10")
    own = partition_classifier(classifier, later, fold_batch_norm=True)
    head = freeze_plan(classifier, "none")
    cut = find_cut(classifier, [head, later])
    assert own is not None
    assert cut is not None
    shared = partition_at(classifier, cut, fold_batch_norm=True)
    assert len(own.cut) == 2
    assert shared.cut == own.cut
    assert trunk_key(shared) == trunk_key(own)


@pytest.mark.slow
def test_the_key_is_the_same_for_a_rebuilt_model() -> None:
    first = trunk_key(partition_of())
    partition_of.cache_clear()
    # Advance the number that Keras gives to the next ReLU.
    keras.layers.ReLU()
    assert trunk_key(partition_of()) == first


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        # 32 MiB are 8 Mi values of 4 bytes.
        *((2**23, 1), (2**23 - 1, 1), (2**22, 2), (2**20 + 1, 4), (2**18, 32)),
        # 112 x 112 x 96, of EfficientNetB0 at 224 px.
        (1_204_224, 4),
        *((10**9, 1), (1, 32)),
    ],
)
def test_blocks_are_the_largest_power_of_two_that_fits(
    largest: int, expected: int
) -> None:
    class Sized:
        largest_activation = largest

    assert block_of(Sized()) == expected
