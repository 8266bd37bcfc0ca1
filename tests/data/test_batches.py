"""Batches: order, shards, padding and skipping, shown by numbered images."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.determinism import undone
from tests.support.image_blocks import image_blocks
from tests.support.params import slow
from tests.support.records import as_records
from trainer.data.augment import affine, draw_parameters
from trainer.data.batches import evaluation_batches, training_batches
from trainer.data.order import Shard, epoch_order
from trainer.data.reading import Reading
from trainer.data.samples import (
    ARRAY_RECORD,
    TFRECORD,
    WHOLE_FILE,
    Samples,
)

N, PX = 10, 4
Elements = list[dict[str, np.ndarray]]


def value(row: int) -> int:
    """Returns the grey level of a row's image, which is never black."""
    return 20 * row + 5


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Ten images as files; the label of a row is row % 3."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"photo {i} é.png" for i in range(N)]
    for i, path in enumerate(paths):
        Image.new("RGB", (3 + i, 5), (value(i),) * 3).save(path)
    return Samples(
        ids=tuple(path.name for path in paths),
        labels=np.arange(N, dtype=np.int32) % 3,
        paths=tuple(str(path) for path in paths),
        offsets=np.zeros(N, np.int64),
        lengths=np.full(N, WHOLE_FILE, np.int64),
    )


def shard(batch: int = 4, replicas: int = 1, p: int = 0, of: int = 1) -> Shard:
    """Returns a `Shard`."""
    return Shard(
        global_batch=batch, num_replicas=replicas, pipeline=p, num_pipelines=of
    )


def elements(dataset: tf.data.Dataset) -> Elements:
    """Returns all elements of a dataset as arrays."""
    return list(dataset.as_numpy_iterator())


# Cached, because most tests compare with the plain run.
@functools.cache
def train(
    samples: Samples,
    part: Shard,
    *,
    seed: int = 0,
    start: int = 0,
    total: int = 9,
    augment: bool = True,
) -> Elements:
    """Reads training batches; by default three epochs of three steps."""
    return elements(
        training_batches(
            samples,
            reading=Reading(image_px=PX),
            shard=part,
            seed=seed,
            start_step=start,
            total_steps=total,
            augment=augment,
        )
    )


def rows_of(parts: Elements) -> list[int]:
    """Returns the row number of each example by its pixels; -1 is padding."""
    images = np.concatenate([part["images"] for part in parts])
    assert (images == images[:, :1, :1, :1]).all()
    levels = images[:, 0, 0, 0]
    return [-1 if v == 0 else round((v - 5) / 20) for v in levels]


def assert_same(one: Elements, other: Elements) -> None:
    """Asserts that all elements are equal bit for bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize("augment", [True, False])
def test_elements_have_static_shapes_and_types(
    samples: Samples, augment: bool
) -> None:
    dataset = training_batches(
        samples,
        reading=Reading(image_px=PX),
        shard=shard(4, 2),
        seed=0,
        start_step=0,
        total_steps=1,
        augment=augment,
    )
    expected = {
        "images": tf.TensorSpec((2, PX, PX, 3), tf.float32),
        "labels": tf.TensorSpec((2,), tf.int32),
        "mask": tf.TensorSpec((2,), tf.float32),
    }
    evaluation = evaluation_batches(
        samples, reading=Reading(image_px=PX), shard=shard(4, 2)
    )
    assert evaluation.element_spec == expected
    if augment:
        expected["matrices"] = tf.TensorSpec((2, 2, 2), tf.float32)
    assert dataset.element_spec == expected


def test_an_epoch_shows_every_sample_once(samples: Samples) -> None:
    parts = train(samples, shard())
    # 10 samples in batches of 4: 4 + 4 + 2, three times.
    assert [part["mask"].sum() for part in parts] == [4, 4, 2] * 3
    rows = np.array(rows_of(parts)).reshape(3, 12)
    for epoch in range(3):
        expected = [*epoch_order(N, 0, epoch).numpy(), -1, -1]
        assert rows[epoch].tolist() == expected
    labels = np.concatenate([part["labels"] for part in parts])
    mask = np.concatenate([part["mask"] for part in parts])
    flat = rows.reshape(-1)
    assert labels.tolist() == [r % 3 if r >= 0 else 0 for r in flat]
    assert mask.tolist() == [float(r >= 0) for r in flat]


def test_matrices_are_drawn_by_seed_epoch_and_sample(samples: Samples) -> None:
    parts = train(samples, shard(), seed=3)
    matrices = np.concatenate([part["matrices"] for part in parts])
    hashes = samples.id_hashes()
    for i, row in enumerate(rows_of(parts)):
        expected = np.eye(2, dtype=np.float32)
        if row >= 0:
            epoch = tf.constant(i // 12, tf.int64)
            drawn = draw_parameters(3, epoch, tf.constant(hashes[row]))
            expected = affine(drawn).numpy()
        np.testing.assert_array_equal(matrices[i], expected)
    assert len({matrix.tobytes() for matrix in matrices}) == 31


# Four replicas, and two, on two pipelines.
FOUR, TWO = ([shard(4, n, p, 2) for p in (0, 1)] for n in (4, 2))


def join(shards: list[Shard], parts: list[Elements]) -> Elements:
    """Returns the global batches made of the elements of each pipeline."""
    local = shards[0].local_replicas
    steps = len(parts[0]) // local
    slices = [
        [e for part in parts for e in part[local * i : local * (i + 1)]]
        for i in range(steps)
    ]
    return [
        {key: np.concatenate([e[key] for e in one]) for key in one[0]}
        for one in slices
    ]


@pytest.mark.parametrize(
    ("read", "shards"),
    [("train", FOUR), ("resume", TWO), *slow(("evaluate", FOUR))],
    ids=["train", "resume", "evaluate"],
)
def test_shards_make_up_the_same_global_batches(
    read: str, shards: list[Shard], samples: Samples
) -> None:
    readers: dict[str, Callable[[Shard], Elements]] = {
        "train": lambda part: train(samples, part),
        "resume": lambda part: train(samples, part, start=4, total=8),
        "evaluate": lambda part: elements(
            evaluation_batches(
                samples, reading=Reading(image_px=PX), shard=part
            )
        ),
    }
    parts = [readers[read](part) for part in shards]
    assert_same(join(shards, parts), readers[read](shard()))


def test_an_element_may_be_all_padding(samples: Samples) -> None:
    parts = elements(
        evaluation_batches(
            samples, reading=Reading(image_px=PX), shard=shard(8, 4)
        )
    )
    # 16 places for 10 samples, two per element.
    assert [part["mask"].sum() for part in parts] == [2] * 5 + [0] * 3
    assert not parts[-1]["images"].any()
    assert not parts[-1]["labels"].any()


@pytest.mark.parametrize(
    ("replicas", "start"), [(1, 3), (2, 4), *slow((1, 9), (2, 1))]
)
def test_a_later_start_changes_nothing(
    replicas: int, start: int, samples: Samples
) -> None:
    part = shard(4, replicas)
    later = train(samples, part, start=start)
    assert_same(later, train(samples, part)[start * replicas :])


def test_a_later_start_reads_no_skipped_file(
    samples: Samples,
) -> None:
    # The files of the first two steps are missing.
    order = epoch_order(N, 0, 0).numpy()
    paths = list(samples.paths)
    for row in order[:8]:
        paths[row] = "/nowhere"
    broken = dataclasses.replace(samples, paths=tuple(paths))
    third = train(broken, shard(), start=2, total=3)
    assert rows_of(third) == [*order[8:], -1, -1]
    with pytest.raises(tf.errors.NotFoundError):
        train(broken, shard(), start=0, total=1)


def test_a_stage_may_end_within_an_epoch(samples: Samples) -> None:
    assert_same(train(samples, shard(), total=4), train(samples, shard())[:4])


def test_a_start_after_the_end_is_rejected(samples: Samples) -> None:
    with pytest.raises(ValueError, match=r"start_step=10: not in 0 \.\.\. 9"):
        train(samples, shard(), start=10)


def test_seed_decides_the_order(samples: Samples) -> None:
    one, two = (train(samples, shard(), seed=seed) for seed in (1, 2))
    assert rows_of(one) != rows_of(two)
    assert_same(one, train.__wrapped__(samples, shard(), seed=1))


def test_evaluation_keeps_the_given_order(samples: Samples) -> None:
    rows = [7, 1, 1, 9, 0]
    parts = elements(
        evaluation_batches(
            samples.take(rows), reading=Reading(image_px=PX), shard=shard()
        )
    )
    assert rows_of(parts) == [*rows, -1, -1, -1]
    assert [part["mask"].sum() for part in parts] == [4, 1]


@pytest.mark.parametrize(
    ("deterministic", "record_format"),
    [(True, ARRAY_RECORD), (False, TFRECORD)],
)
def test_records_give_the_same_images_as_files(
    samples: Samples,
    tmp_path: pathlib.Path,
    deterministic: bool,
    record_format: str,
) -> None:
    records = as_records(samples, tmp_path, record_format)
    with undone():
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        assert_same(train(records, shard()), train(samples, shard()))
        # In the middle of an epoch, one of two pipelines.
        part = shard(4, 2, 1, 2)
        assert_same(train(records, part, start=4), train(samples, part)[4:])
        blocks = [
            np.concatenate(
                list(
                    image_blocks(
                        source, np.array([3, 0, 2]), image_px=PX, block=2
                    ).as_numpy_iterator()
                )
            )
            for source in (records, samples)
        ]
    assert blocks[0].shape == (3, PX, PX, 3)
    assert blocks[0].dtype == np.uint8
    np.testing.assert_array_equal(*blocks)


@pytest.mark.slow
def test_reading_records_logs_no_warning(
    samples: Samples, tmp_path: pathlib.Path
) -> None:
    """TensorFlow warns if it has to run a parallel map sequentially."""
    pickled = []
    for record_format in (TFRECORD, ARRAY_RECORD):
        folder = tmp_path / record_format
        folder.mkdir()
        records = as_records(samples, folder, record_format)
        (folder / "samples").write_bytes(pickle.dumps(records))
        pickled.append(str(folder / "samples"))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.records", *pickled],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{-(-N // 4)} batches\n" * 2
    assert "MapDataset" not in done.stderr
    assert "determinis" not in done.stderr


def test_batches_under_a_strategy_are_the_same(samples: Samples) -> None:
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    distributed = strategy.distribute_datasets_from_function(
        lambda context: training_batches(
            samples,
            reading=Reading(image_px=PX),
            shard=shard(
                4,
                strategy.num_replicas_in_sync,
                context.input_pipeline_id,
                context.num_input_pipelines,
            ),
            seed=0,
            start_step=0,
            total_steps=9,
            augment=True,
        )
    )
    got = [{k: v.numpy() for k, v in e.items()} for e in distributed]
    assert_same(got, train(samples, shard()))
