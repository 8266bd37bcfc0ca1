"""TFDS data sets with unusual labels, features and supervised keys."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.support import tfds_labels
from trainer.data.check import (
    CheckedSplit,
    check_images,
    read_encoded_image,
)
from trainer.data.manifest import build_manifest
from trainer.data.reading import checked_blocks
from trainer.data.samples import Source
from trainer.data.tfds_source import open_tfds
from trainer.errors import TrainerError

# TFDS knows the data set once the module is imported.
assert tfds_labels
FOOD = ("pie", "ramen", "sushi")


def open_it(
    config: str, folder: pathlib.Path, earlier: dict[str, Any] | None = None
) -> Source:
    dataset = f"trainer_labels/{config}"
    return open_tfds(
        dataset, data_dir=str(folder), test_fraction=0.5, earlier=earlier
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder in which each test prepares what it opens."""
    return tmp_path_factory.mktemp("tfds")


@pytest.mark.parametrize(
    ("config", "names", "train", "test"),
    [
        ("some_unlabelled", FOOD, [2, 2, 2], [1, 1, 1]),
        ("unused_names", ("pie", "sushi"), [2, 2], [1, 1]),
        ("untested_class", FOOD, [2, 2, 2], [1, 0, 2]),
        ("without_keys", FOOD, [2, 2, 2], [2, 2, 2]),
        ("scalar", ("0", "1", "2"), [2, 2, 2], [2, 2, 2]),
        ("tensor", ("0", "1"), [2, 2], [1, 1]),
    ],
)
def test_classes_and_counts(
    folder: pathlib.Path,
    config: str,
    names: tuple[str, ...],
    train: list[int],
    test: list[int],
) -> None:
    source = open_it(config, folder)
    assert source.class_names == names
    assert source.train.counts(len(names)).tolist() == train
    assert source.test is not None
    assert source.test.counts(len(names)).tolist() == test


def test_records_without_a_label_are_counted(folder: pathlib.Path) -> None:
    source = open_it("some_unlabelled", folder)
    assert source.validation is None
    assert source.origins["test"] == (
        "the test split of trainer_labels/some_unlabelled"
    )
    assert list(source.passed_over.lines()) == [
        "5 records skipped, without a label: 2 train, 2 validation, 1 test"
    ]
    # The order of the records is TFDS's own; labels must follow the rows.
    data = tfds.load(
        "trainer_labels/some_unlabelled",
        split="train",
        data_dir=str(folder),
        read_config=tfds.ReadConfig(add_tfds_id=True),
    )
    expected = {
        example["tfds_id"].decode(): int(example["label"])
        for example in tfds.as_numpy(data)
        if example["label"] >= 0
    }
    found = dict(zip(source.train.ids, source.train.labels, strict=True))
    assert found == expected
    assert len(found) == 6


def test_names_without_records_are_noted(folder: pathlib.Path) -> None:
    source = open_it("unused_names", folder)
    assert source.notes == (
        "2 of 4 class names have no record and are left out: 'apple', 'bun'",
    )
    assert not source.passed_over.total()


def test_a_run_of_an_earlier_version_keeps_its_splits(
    folder: pathlib.Path,
) -> None:
    """A record without a label left out its whole split."""
    location = open_it("some_unlabelled", folder).location
    earlier = {"location": location}
    with pytest.raises(TrainerError, match="no train split with labels"):
        open_it("some_unlabelled", folder, earlier)
    now = open_it("some_unlabelled", folder, {**earlier, "origins": {}})
    assert len(now.train) == 6


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "numbers_with_a_gap",
            "the numbers of 'label' are 0 to 3 without 2, and a label is 0 to"
            " n - 1 with a record of each; give a data set whose labels are",
        ),
        (
            "numbers_from_one",
            "the numbers of 'label' are 1 to 2 without 0, and a label is 0 to"
            " n - 1 with a record of each; give a data set whose labels are",
        ),
        (
            "one_number",
            "1 class; legal are 2 to 100,000: give a data set within this"
            " range",
        ),
        (
            "one_used_name",
            "only 'ramen' of 3 class names has records; give a data set with"
            " records of two classes or more",
        ),
    ],
)
def test_labels_that_are_not_classes_are_rejected(
    folder: pathlib.Path, config: str, reason: str
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it(config, folder)
    assert str(error.value) == f"--dataset='trainer_labels/{config}': {reason}"


def test_a_number_above_the_range_is_rejected(folder: pathlib.Path) -> None:
    with pytest.raises(
        TrainerError, match=r"label 100000; legal are 0 to 99,999, and -1"
    ):
        open_it("large_number", folder)


REASONS = {
    "text_label": "its feature 'label' is a Text, not a class label",
    "float_label": (
        "its feature 'label' is float32, and a label is a ClassLabel or int64"
    ),
    **{
        config: (
            f"its feature 'image' is a Tensor of {what}, and pixels in a Tensor"
            " are uint8 of a fixed shape with 1 or 3 channels, without encoding"
        )
        for config, what in (
            ("float_pixels", "float32 of shape (9, 7, 3)"),
            ("sizes_of_pixels", "uint8 of shape (None, 7, 3)"),
            ("zlib_pixels", "uint8 of shape (9, 7, 3) encoded as zlib"),
        )
    },
    "float_image": (
        "the pixels of its feature 'image' are float32, not uint8 or uint16"
    ),
    "vector": "its feature 'image' is a Tensor of shape (8,), not an image",
    "no_label": ("it has no supervised keys, and no feature is called 'label'"),
    "three_keys": (
        "its supervised keys are ('image', 'label', 'image'), not two features"
    ),
}


@pytest.mark.parametrize("config", REASONS)
def test_the_reason_of_a_refusal_is_named(
    tmp_path: pathlib.Path, config: str
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it(config, tmp_path)
    assert str(error.value) == (
        f"--dataset='trainer_labels/{config}': not an image classification"
        f" data set ({REASONS[config]}); give one with an image and a class"
        " label per example"
    )
    # Nothing is prepared before that.
    assert list(tmp_path.iterdir()) == []


def test_classes_must_be_trained_on_but_not_tested_on(
    folder: pathlib.Path,
) -> None:
    source = open_it("untested_class", folder)
    assert source.notes == (
        "the test split has no record of 1 of 3 classes, so its results say"
        " nothing about them: 'ramen'",
    )
    options: dict[str, Any] = {
        "data_pct": 100,
        "seed": 0,
        "batch_size": 2,
        "validation_fraction": 1,
        "on_bad_image": "fail",
    }
    manifest = build_manifest(source=source, **options)
    assert manifest.final.counts(3).tolist() == [1, 0, 2]
    with pytest.raises(TrainerError) as error:
        build_manifest(source=open_it("untrained_class", folder), **options)
    assert str(error.value) == (
        "class 'sushi': no readable image in the train split; give a data set"
        " that has images of every class"
    )


@pytest.mark.parametrize(
    ("config", "channels"), [("pixels", 3), ("grey_pixels", 1)]
)
def test_pixels_in_a_tensor_are_images(
    folder: pathlib.Path, config: str, channels: int
) -> None:
    source = open_it(config, folder)
    samples = source.train
    assert samples.record_image_shape == (9, 7, channels)
    result = check_images(samples, split="train")
    assert result.bad == ()
    assert len({file.digest for file in result.files if file}) == 6
    data = tfds.load(
        f"trainer_labels/{config}",
        split="train",
        data_dir=str(folder),
        read_config=tfds.ReadConfig(add_tfds_id=True),
    )
    expected = {
        example["tfds_id"].decode(): example["image"]
        for example in tfds.as_numpy(data)
    }
    checked = CheckedSplit(samples=samples, files=result.files).with_digests()
    rows = np.arange(6)
    ((images, same),) = checked_blocks(
        checked.samples, rows, image_px=9, block=6
    )
    assert same.numpy().all()
    for row in rows:
        levels = np.broadcast_to(expected[samples.ids[row]], (9, 7, 3))
        resized = tf.round(tf.image.resize(levels, (9, 9)))
        np.testing.assert_array_equal(images[row], resized)
        encoded = read_encoded_image(samples, row)
        np.testing.assert_array_equal(
            tf.io.decode_png(encoded, channels=3), levels
        )
