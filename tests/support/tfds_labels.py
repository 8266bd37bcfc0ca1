"""TFDS data sets whose features and labels differ from the usual ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tests.support.tfds_images import CLASSES, png

IMAGE = tfds.features.Image(shape=(None, None, 3))
LABEL = tfds.features.ClassLabel(names=CLASSES)
NUMBER = tfds.features.Scalar(dtype=np.int64)
_ALL = (0, 1, 2, 0, 1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """The features and labels of one config of the data set.

    Attributes:
      splits: split -> the label of each record.
      features: the features; 'image' and 'label' get values.
      keys: the supervised keys.
    """

    splits: Mapping[str, tuple[int, ...]] = dataclasses.field(
        default_factory=lambda: {"train": _ALL, "test": _ALL}
    )
    features: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"image": IMAGE, "label": LABEL}
    )
    keys: Any = ("image", "label")


def features(image: Any = IMAGE, label: Any = LABEL) -> dict[str, Any]:
    """Returns an image feature and a label feature."""
    return {"image": image, "label": label}


def pixels(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Returns random levels of a record whose pixels are no image file."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, shape).astype(np.uint8)


CASES = {
    "some_unlabelled": Labelled(
        splits={
            "train": (0, -1, 1, 2, -1, 0, 1, 2),
            "validation": (-1, -1),
            "test": (2, 1, -1, 0),
        },
    ),
    "unused_names": Labelled(
        features=features(
            label=tfds.features.ClassLabel(
                names=("apple", "pie", "bun", "sushi")
            )
        ),
        splits={"train": (1, 3, 1, 3), "test": (3, 1)},
    ),
    "untested_class": Labelled(splits={"train": _ALL, "test": (2, 0, 2)}),
    "untrained_class": Labelled(splits={"train": (0, 1, 0), "test": _ALL}),
    "one_used_name": Labelled(splits={"train": (1, 1), "test": (1,)}),
    "without_keys": Labelled(keys=None),
    "scalar": Labelled(features=features(label=NUMBER)),
    "tensor": Labelled(
        features=features(label=tfds.features.Tensor(shape=(), dtype=np.int64)),
        splits={"train": (0, -1, 1, 0, 1), "test": (1, 0)},
    ),
    "numbers_with_a_gap": Labelled(
        features=features(label=NUMBER),
        splits={"train": (0, 1, 3, 3), "test": (0, 1)},
    ),
    "numbers_from_one": Labelled(
        features=features(label=NUMBER),
        splits={"train": (1, 2, 1, 2)},
    ),
    "large_number": Labelled(
        features=features(label=NUMBER),
        splits={"train": (0, 1, 100_000)},
    ),
    "one_number": Labelled(
        features=features(label=NUMBER), splits={"train": (0, 0)}
    ),
    "text_label": Labelled(features=features(label=tfds.features.Text())),
    "float_label": Labelled(
        features=features(label=tfds.features.Scalar(dtype=np.float32))
    ),
    "pixels": Labelled(
        features=features(
            image=tfds.features.Tensor(shape=(9, 7, 3), dtype=np.uint8)
        )
    ),
    "grey_pixels": Labelled(
        features=features(
            image=tfds.features.Tensor(shape=(9, 7, 1), dtype=np.uint8)
        )
    ),
    "float_pixels": Labelled(
        features=features(
            image=tfds.features.Tensor(shape=(9, 7, 3), dtype=np.float32)
        )
    ),
    "sizes_of_pixels": Labelled(
        features=features(
            image=tfds.features.Tensor(shape=(None, 7, 3), dtype=np.uint8)
        )
    ),
    "zlib_pixels": Labelled(
        features=features(
            image=tfds.features.Tensor(
                shape=(9, 7, 3), dtype=np.uint8, encoding="zlib"
            )
        )
    ),
    "float_image": Labelled(
        features=features(
            image=tfds.features.Image(shape=(9, 7, 1), dtype=np.float32)
        )
    ),
    "vector": Labelled(
        features=features(
            image=tfds.features.Tensor(shape=(8,), dtype=np.float32)
        )
    ),
    "no_label": Labelled(features={"image": IMAGE, "sort": LABEL}, keys=None),
    "three_keys": Labelled(keys=("image", "label", "image")),
}


class TrainerLabels(tfds.core.GeneratorBasedBuilder):
    """A data set with one config per entry of `CASES`."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list[Any]] = [
        tfds.core.BuilderConfig(name=name) for name in CASES
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        case = CASES[self.builder_config.name]
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(dict(case.features)),
            supervised_keys=case.keys,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        case = CASES[self.builder_config.name]
        return {
            split: self._generate_examples(split, labels)
            for split, labels in case.splits.items()
        }

    def _generate_examples(
        self, split: str, labels: tuple[int, ...]
    ) -> Iterator[tuple[str, Any]]:
        for i, label in enumerate(labels):
            image: Any = png(len(split) * 100 + i)
            feature = CASES[self.builder_config.name].features["image"]
            if type(feature) is tfds.features.Tensor:
                image = pixels(feature.shape, i)
            yield f"{split}{i}", {"image": image, "label": label}
