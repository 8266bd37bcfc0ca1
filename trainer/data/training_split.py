"""The training samples alone, for stages that use no other split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from trainer.cache import FileCache
from trainer.config.split_names import SplitNames
from trainer.data.check import apply_policy, check_images
from trainer.data.earlier_checks import cache_checks, cached_checks
from trainer.data.passed_over import PassedOver
from trainer.data.samples import Samples
from trainer.data.sources import open_source
from trainer.data.subsets import nested_subset


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSplit:
    """The samples that a run of the same flags would train on.

    Attributes:
      name: short name of the data set.
      class_names: in the order of the labels.
      samples: the subset of `data_pct`, sorted by id.
      total: number of readable training samples, before the subset.
      skipped: number of images left out because they cannot be read.
      fingerprint: hexadecimal digest of the class names and of id, label and
        content of every sample.
      origins: see `samples.Source`.
      passed_over: see `samples.Source`.
      notes: see `samples.Source`.
    """

    name: str
    class_names: tuple[str, ...]
    samples: Samples
    total: int
    skipped: int
    fingerprint: str
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()


def training_split(
    *,
    dataset: str,
    tfds_data_dir: str | None,
    test_fraction: float,
    split_names: SplitNames | None = None,
    data_pct: float,
    seed: int,
    on_bad_image: str,
    cache: FileCache,
) -> TrainingSplit:
    """Checks the training images; no image of another split is read.

    Args:
      dataset: see `sources.open_source`.
      tfds_data_dir: see `sources.open_source`.
      test_fraction: see `sources.open_source`.
      split_names: see `sources.open_source`.
      data_pct: see `manifest.build_manifest`.
      seed: see `manifest.build_manifest`.
      on_bad_image: `fail` or `skip`.
      cache: holds results of the image checks of other runs.

    Raises:
      UsageError: there is no such data set.
      TrainerError: the data set cannot be used as it is.
    """
    source = open_source(
        dataset,
        tfds_data_dir=tfds_data_dir,
        test_fraction=test_fraction,
        split_names=split_names,
    )
    all_known = cached_checks(cache, source)
    known = {"train": all_known.get("train", {})}
    result = check_images(source.train, split="train", known=known["train"])
    splits = apply_policy(
        [result], class_names=source.class_names, on_bad_image=on_bad_image
    )
    cache_checks(cache, source, known, splits)
    digests = tuple(file.digest for file in splits["train"].files)
    samples = dataclasses.replace(splits["train"].samples, digests=digests)
    subset = samples.take(
        nested_subset(samples, len(source.class_names), data_pct, seed)
    )
    rows = sorted(
        zip(subset.ids, subset.labels.tolist(), subset.digests, strict=True)
    )
    text = json.dumps([source.class_names, rows])
    return TrainingSplit(
        name=source.name,
        class_names=source.class_names,
        samples=subset,
        total=len(samples),
        skipped=len(result.bad),
        fingerprint=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        origins=source.origins,
        passed_over=source.passed_over,
        notes=source.notes,
    )
