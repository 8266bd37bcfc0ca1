"""The demo data set as TFDS builds it. Importing this registers its name.

The trainer reads it as it reads every TFDS data set; only making it differs:
nothing is downloaded, the pictures are drawn.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from trainer.demo.canvas import SIDE_PX
from trainer.demo.picture import (
    CLASSES,
    TEST_PER_CLASS,
    TRAIN_PER_CLASS,
    draw_jpeg,
)

_MAX_WORKERS = 16
_CHUNK = 25


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
        rows = [(name, split, i) for name in CLASSES for i in range(count)]
        # The bar shows on a terminal only.
        with tqdm(
            zip(rows, _drawn(rows), strict=True),
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


def _drawn(rows: list[tuple[str, str, int]]) -> Iterator[bytes]:
    """JPEG files, in the order of the rows, drawn on all cores."""
    workers = min(
        os.cpu_count() or 1, _MAX_WORKERS, 1 + len(rows) // (4 * _CHUNK)
    )
    if workers == 1:
        yield from (draw_jpeg(*row) for row in rows)
        return
    # Not forked: TensorFlow's threads would not survive it.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        yield from pool.map(
            draw_jpeg, *zip(*rows, strict=True), chunksize=_CHUNK
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Ends with its parent, however that ends, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
