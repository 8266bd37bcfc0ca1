"""The demo data set as a TFDS builder; the import registers its name.

The trainer reads it like any TFDS data set, but draws it instead of downloading
it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tqdm import tqdm

from trainer.demo.image import CLASSES, TEST_PER_CLASS, TRAIN_PER_CLASS
from trainer.demo.painter import SIDE_PX
from trainer.demo.workers import draw_all, rows_of


class Demo(tfds.core.GeneratorBasedBuilder):
    """Ten classes of food, drawn by a program.

    Attributes:
      per_class: number of images of each class, by split.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    per_class: ClassVar = {"train": TRAIN_PER_CLASS, "test": TEST_PER_CLASS}

    @property
    def making(self) -> str:
        """The action of `download_and_prepare`, for a message before it."""
        count = len(CLASSES) * sum(self.per_class.values())
        return f"drawing {count:,} images"

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Ten classes of food drawn by a program, for trying the"
                " trainer out without a download. Not photos."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(SIDE_PX, SIDE_PX, 3), encoding_format="jpeg"
                    ),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(split, count)
            for split, count in self.per_class.items()
        }

    def _generate_examples(
        self, split: str, count: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the images of a split by class; TFDS shuffles by the key."""
        rows = rows_of(split, count)
        # Shows the bar on a terminal only.
        with tqdm(
            zip(rows, draw_all(split, count), strict=True),
            total=len(rows),
            desc=f"drawing {split}",
            unit="img",
            leave=False,
            file=sys.stdout,
            disable=None,
            dynamic_ncols=True,
        ) as bar:
            for (name, _, i), jpeg in bar:
                example = {"image": io.BytesIO(jpeg), "label": name}
                yield f"{name}_{i:04d}", example

    def download_and_prepare(self, **options: Any) -> None:
        """Draws and stores the images, with a single progress bar."""
        tfds.disable_progress_bar()
        try:
            super().download_and_prepare(**options)
        finally:
            tfds.enable_progress_bar()

    # Suppress the messages of TFDS about a download.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass
