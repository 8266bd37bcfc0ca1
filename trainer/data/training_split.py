"""The training samples alone, for stages that use no other split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from trainer.cache import FileCache
from trainer.data.check import apply_policy, check_images
from trainer.data.earlier_checks import cache_checks, cached_checks
from trainer.data.passed_over import PassedOver
from trainer.data.samples import Samples, Source
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
      bad_rows: number of rows of a table that were left out.
      fingerprint: hexadecimal digest of the class names and of id, label,
        group and content of every sample.
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
    bad_rows: int = 0
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()


def training_split(
    *,
    source: Source,
    data_pct: float,
    seed: int,
    on_bad_image: str,
    cache: FileCache,
    shots: int | None = None,
) -> TrainingSplit:
    """Checks the training images; no image of another split is read.

    Args:
      source: the data set.
      data_pct: see `manifest.build_manifest`.
      seed: see `manifest.build_manifest`.
      on_bad_image: `fail` or `skip`.
      cache: holds results of the image checks of other runs.
      shots: see `manifest.build_manifest`.

    Raises:
      TrainerError: the data set cannot be used as it is.
    """
    all_known = cached_checks(cache, source.location)
    known = {"train": all_known.get("train", {})}
    result = check_images(source.train, split="train", known=known["train"])
    splits = apply_policy(
        [result], class_names=source.class_names, on_bad_image=on_bad_image
    )
    cache_checks(cache, source.location, known, splits)
    digests = tuple(file.digest for file in splits["train"].files)
    samples = dataclasses.replace(splits["train"].samples, digests=digests)
    subset = samples.take(
        nested_subset(samples, len(source.class_names), data_pct, seed, shots)
    )
    return TrainingSplit(
        name=source.name,
        class_names=source.class_names,
        samples=subset,
        total=len(samples),
        skipped=len(result.bad),
        bad_rows=len(source.bad_rows),
        fingerprint=_fingerprint(source.class_names, subset),
        origins=source.origins,
        passed_over=source.passed_over,
        notes=source.notes,
    )


def _fingerprint(class_names: tuple[str, ...], subset: Samples) -> str:
    rows = sorted(
        zip(subset.ids, subset.labels.tolist(), subset.digests, strict=True)
    )
    digested: list[object] = [class_names, rows]
    if subset.groups:
        # Without groups it is as before there were any.
        digested.append(sorted(zip(subset.ids, subset.groups, strict=True)))
    text = json.dumps(digested)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
