"""Sources of TFDS data sets that the tests define and prepare."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.support.records import read_encoded
from tests.support.tfds_images import CLASSES, SPLITS, Images, png
from trainer.data.check import check_images
from trainer.data.decode import decode_image
from trainer.data.samples import Samples, Source
from trainer.data.tfds_names import FOOD10_CLASSES, is_tfds_name
from trainer.data.tfds_source import open_tfds


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of all prepared configs; `train_only` has three shards."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    for name in SPLITS:
        shards = 3 if name == "train_only" else 1
        tfds.builder(
            f"trainer_images/{name}", data_dir=folder
        ).download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=shards)
        )
    return folder


def open_it(dataset: str, data_dir: str) -> Source:
    return open_tfds(dataset, data_dir=data_dir, test_fraction=0.2)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("train_only", {"train": (24, "train"), "test": (6, "train")}),
        ("train_test", {"train": (12, "train"), "test": (6, "test")}),
        (
            "train_validation",
            {"train": (12, "train"), "test": (6, "validation")},
        ),
        (
            "all_three",
            {
                "train": (12, "train"),
                "validation": (3, "validation"),
                "test": (6, "test"),
            },
        ),
        ("secret_test", {"train": (12, "train"), "test": (6, "validation")}),
    ],
)
def test_each_split_gets_its_role(
    data_dir: str, config: str, expected: dict[str, tuple[int, str]]
) -> None:
    source = open_it(f"trainer_images/{config}", data_dir)
    assert source.name == f"trainer_images-{config}"
    assert source.location.startswith(data_dir)
    assert source.class_names == CLASSES
    found = {}
    for split, part in source.splits().items():
        (name,) = {i.split(".")[0].split("-")[-1] for i in part.ids}
        found[split] = (len(part), name)
        assert len(set(part.counts(3).tolist())) == 1
    assert found == expected


def _by_id(config: str, split: str, data_dir: str) -> dict[str, Any]:
    """Returns the examples that TFDS reads, by id."""
    dataset = tfds.load(
        f"trainer_images/{config}",
        split=split,
        data_dir=data_dir,
        read_config=tfds.ReadConfig(add_tfds_id=True),
    )
    return {
        example["tfds_id"].decode(): example
        for example in tfds.as_numpy(dataset)
    }


def _pixels(samples: Samples, row: int) -> np.ndarray:
    return decode_image(read_encoded(samples, row)).numpy()


def test_samples_equal_those_that_tfds_reads(data_dir: str) -> None:
    source = open_it("trainer_images/train_only", data_dir)
    expected = _by_id("train_only", "train", data_dir)
    assert len({i.split("__")[0] for i in expected}) == 3
    assert source.test is not None
    found = {}
    for samples in (source.train, source.test):
        for row, sample_id in enumerate(samples.ids):
            found[sample_id] = samples.labels[row]
            np.testing.assert_array_equal(
                _pixels(samples, row), expected[sample_id]["image"]
            )
    assert found == {i: e["label"] for i, e in expected.items()}
    assert sorted(found)[0] == (
        "trainer_images-train.tfrecord-00000-of-00003__0"
    )


def test_array_records_equal_those_that_tfds_reads(
    tmp_path: pathlib.Path,
) -> None:
    """Compares with TFDS's data source, which uses other decoders."""
    builder = tfds.builder(
        "trainer_images/train_test",
        data_dir=str(tmp_path),
        file_format="array_record",
    )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=3)
    )
    source = open_it("trainer_images/train_test", str(tmp_path))
    assert source.test is not None
    for split, samples in (("train", source.train), ("test", source.test)):
        expected = builder.as_data_source(split)
        assert len(samples) == len(expected)
        assert len(set(samples.paths)) == 3
        for row in range(len(samples)):
            assert samples.labels[row] == expected[row]["label"]
            np.testing.assert_array_equal(
                _pixels(samples, row), expected[row]["image"]
            )
        assert not check_images(samples, split=split).bad
    assert source.train.ids[:5] == tuple(
        f"trainer_images-train.array_record-0000{shard}-of-00003__{number}"
        for shard, number in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))
    )


def test_the_image_check_reads_records(data_dir: str) -> None:
    source = open_it("trainer_images/train_test", data_dir)
    result = check_images(source.train, split="train")
    assert not result.bad
    assert len({file.digest for file in result.files if file}) == 12


def test_a_version_may_be_given(data_dir: str) -> None:
    source = open_it("trainer_images/train_test:1.0.0", data_dir)
    assert source.name == "trainer_images-train_test"
    assert len(source.train) == 12


def test_food10_is_ten_relabelled_classes_of_food101(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ten classes have another order in food101."""
    names = ("apple_pie", *reversed(FOOD10_CLASSES), "waffles")

    class TrainerFood(Images, tfds.core.GeneratorBasedBuilder):
        features: ClassVar[dict[str, Any]] = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=names),
        }

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                split: self._generate_examples(split, 24)
                for split in ("train", "validation")
            }

        def _generate_examples(
            self, split: str, count: int
        ) -> Iterator[tuple[str, Any]]:
            for i in range(count):
                yield (
                    f"{split}{i}",
                    {"image": png(i), "label": names[i % 12]},
                )

    asked = []

    def builder(name: str, **kwargs: Any) -> Any:
        asked.append(name)
        return TrainerFood(data_dir=kwargs["data_dir"])

    monkeypatch.setattr(tfds, "builder", builder)
    source = open_it("food10", str(tmp_path))
    assert asked == ["food101"]
    assert source.name == "food10"
    assert source.class_names == FOOD10_CLASSES
    assert source.validation is None
    assert source.test is not None
    assert source.train.counts(10).tolist() == [2] * 10
    assert source.test.counts(10).tolist() == [2] * 10
    # Image i is drawn by `png(i)` and belongs to class i % 12.
    drawn = [np.array(Image.open(png(i))) for i in range(24)]
    for row in range(len(source.train)):
        name = source.class_names[source.train.labels[row]]
        pixels = _pixels(source.train, row)
        (i,) = [i for i in range(24) if np.array_equal(drawn[i], pixels)]
        assert names[i % 12] == name


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("tf_flowers", True),
        ("mnist/some", True),
        ("food101:2.0.0", True),
        ("photos/food3", False),
        ("a b", False),
    ],
)
def test_is_tfds_name_ignores_config_and_version(
    name: str, known: bool
) -> None:
    assert is_tfds_name(name) is known
