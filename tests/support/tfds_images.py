"""TFDS data sets defined for tests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

CLASSES = ("pie", "ramen", "sushi")
SPLITS = {
    "train_only": {"train": 30},
    "train_test": {"train": 12, "test": 6},
    "train_validation": {"train": 12, "validation": 6},
    "all_three": {"train": 12, "validation": 3, "test": 6},
    "secret_test": {"train": 12, "validation": 6, "test": 3},
    "no_train": {"test": 6},
}


def png(seed: int) -> io.BytesIO:
    """Returns an image of noise, 7 x 9 pixels, as PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    stream.seek(0)
    return stream


class Images:
    """Base of the builders below; `splits` holds the size of each split."""

    VERSION = tfds.core.Version("1.0.0")
    splits: ClassVar[dict[str, int]] = {"train": 6}
    features: ClassVar[dict[str, Any]] = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=CLASSES),
    }
    keys: tuple[str, str] | None = ("image", "label")
    builder_config: Any

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(self.features),
            supervised_keys=self.keys,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        splits = self.splits
        if self.builder_config:
            splits = SPLITS[self.builder_config.name]
        return {
            split: self._generate_examples(split, count)
            for split, count in splits.items()
        }

    def _generate_examples(
        self, split: str, count: int
    ) -> Iterator[tuple[str, Any]]:
        config = self.builder_config
        secret = config and config.name == "secret_test" and split == "test"
        for i in range(count):
            label = -1 if secret else i % 3
            yield (
                f"{split}{i}",
                {"image": png(len(split) * 100 + i), "label": label},
            )


class TrainerImages(Images, tfds.core.GeneratorBasedBuilder):
    """A data set with one config per entry of `SPLITS`."""

    BUILDER_CONFIGS: ClassVar[list[Any]] = [
        tfds.core.BuilderConfig(name=name) for name in SPLITS
    ]


class TrainerUnreachable(Images, tfds.core.GeneratorBasedBuilder):
    """A data set to download from a host that does not exist."""

    url_infos: ClassVar[dict[str, None]] = {
        "https://photos.invalid/all.zip": None
    }


class TrainerUnkeyed(Images, tfds.core.GeneratorBasedBuilder):
    """A data set whose supervised keys are not an image and a label."""

    keys = ("label", "image")


class TrainerFails(Images, tfds.core.GeneratorBasedBuilder):
    """A data set that cannot be prepared."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise AssertionError("Manual folder is missing.\nSee the manual.")
