"""The demo data set as TFDS builds it. Importing this registers its name.

The trainer reads it as it reads every TFDS data set; only making it differs:
nothing is downloaded, the pictures are drawn.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from trainer.demo.canvas import SIDE_PX
from trainer.demo.image import (
    CLASSES,
    TEST_PER_CLASS,
    TRAIN_PER_CLASS,
)
from trainer.demo.workers import draw_all, rows_of


class Demo(tfds.core.GeneratorBasedBuilder):
    """Ten classes of food, drawn by a program.

    Attributes:
      per_class: pictures of each class, by split.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    per_class = {"train": TRAIN_PER_CLASS, "test": TEST_PER_CLASS}

    @property
    def making(self) -> str:
        """What preparing it does, to be said before it begins."""
        count = len(CLASSES) * sum(self.per_class.values())
        return f"drawing {count:,} pictures"

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
        """The pictures of a split, class by class; TFDS shuffles by the key."""
        rows = rows_of(split, count)
        # The bar shows on a terminal only.
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
                yield (
                    f"{name}_{i:04d}",
                    {"image": io.BytesIO(jpeg), "label": name},
                )

    def download_and_prepare(self, **options: Any) -> None:
        """Draws and stores the pictures, with a single bar."""
        tfds.disable_progress_bar()
        try:
            super().download_and_prepare(**options)
        finally:
            tfds.enable_progress_bar()

    # TFDS would speak of a download here.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass
