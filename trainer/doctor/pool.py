"""The images of all splits, as one list of samples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from trainer.cache import FileCache
from trainer.config import Config
from trainer.data.check import BadImage, CheckedSplit, check_images
from trainer.data.earlier_checks import cache_checks, cached_checks
from trainer.data.samples import Samples, Source
from trainer.data.sources import open_source


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """The images of a data set.

    Attributes:
      source: the data set.
      samples: the readable samples of all splits, with digests. An id is
        SPLIT/ID, so that it is unique.
      splits: the split of each sample: 'train', 'validation' or 'test'.
      bad: the images that cannot be read, after the rows of a table that
        cannot be used.
    """

    source: Source
    samples: Samples
    splits: tuple[str, ...]
    bad: tuple[BadImage, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return self.source.class_names

    def counts(self) -> dict[str, np.ndarray]:
        """Returns int64 (classes,), readable samples per class, by split."""
        classes = len(self.class_names)
        splits = np.array(self.splits)
        return {
            split: np.bincount(
                self.samples.labels[splits == split], minlength=classes
            )
            for split in self.source.splits()
        }

    def fingerprint(self) -> str:
        """Returns a digest of the class names and of all samples."""
        rows = sorted(
            zip(
                self.samples.ids,
                self.samples.labels.tolist(),
                self.samples.digests,
                strict=True,
            )
        )
        text = json.dumps([self.class_names, rows])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def open_pool(config: Config) -> Source:
    """Finds the samples of the data set that the flags name.

    Raises:
      UsageError, TrainerError: see `sources.open_source`.
    """
    return open_source(
        config.dataset,
        tfds_data_dir=config.tfds_data_dir,
        test_fraction=config.test_fraction,
        columns=config.columns,
        group_by=config.group_by,
        on_bad_row="skip",
        split_names=config.split_names,
    )


def read_pool(source: Source, cache: FileCache) -> Pool:
    """Checks every image of a data set, unlike training without failing.

    Args:
      source: the data set.
      cache: holds results of the image checks of other runs.
    """
    known = cached_checks(cache, source.location)
    results = [
        check_images(part, split=split, known=known.get(split))
        for split, part in source.splits().items()
    ]
    good = {}
    for result in results:
        rows = [row for row, file in enumerate(result.files) if file]
        good[result.split] = CheckedSplit(
            samples=result.samples.take(rows),
            files=tuple(file for file in result.files if file),
        )
    cache_checks(cache, source.location, known, good)
    return Pool(
        source=source,
        samples=_joined(good),
        splits=tuple(
            split for split, part in good.items() for _ in part.samples.ids
        ),
        bad=(
            *_bad_rows(source),
            *(bad for result in results for bad in result.bad),
        ),
    )


def _bad_rows(source: Source) -> Iterator[BadImage]:
    """Yields the rows of a table that cannot be used, as images."""
    for row in source.bad_rows:
        yield BadImage(
            split="",
            id=f"line {row.line}",
            path=source.location,
            reason=row.reason,
        )


def _joined(parts: dict[str, CheckedSplit]) -> Samples:
    """Returns the samples of all splits, with digests."""
    samples = [part.samples for part in parts.values()]
    return dataclasses.replace(
        samples[0],
        ids=tuple(
            f"{split}/{sample_id}"
            for split, part in parts.items()
            for sample_id in part.samples.ids
        ),
        paths=tuple(path for part in samples for path in part.paths),
        labels=np.concatenate([part.labels for part in samples]),
        offsets=np.concatenate([part.offsets for part in samples]),
        lengths=np.concatenate([part.lengths for part in samples]),
        digests=tuple(
            file.digest for part in parts.values() for file in part.files
        ),
        groups=_joined_groups(samples),
        weights=_joined_weights(samples),
    )


def _joined_groups(parts: Sequence[Samples]) -> tuple[str, ...]:
    if not any(part.groups for part in parts):
        return ()
    return tuple(
        group for part in parts for group in part.groups or ("",) * len(part)
    )


def _joined_weights(parts: Sequence[Samples]) -> np.ndarray | None:
    if all(part.weights is None for part in parts):
        return None
    return np.concatenate(
        [
            np.ones(len(part)) if part.weights is None else part.weights
            for part in parts
        ]
    )
