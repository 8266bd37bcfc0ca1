"""The samples that a run trains on, validates on and is tested on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trainer.cache import FileCache
from trainer.data.check import (
    BadImage,
    CheckedSplit,
    apply_policy,
    check_images,
)
from trainer.data.earlier_checks import (
    cache_checks,
    cached_checks,
    checks_from_json,
    checks_to_json,
)
from trainer.data.headers import UPRIGHT
from trainer.data.samples import Samples, Source, printable
from trainer.data.sources import open_source
from trainer.data.subsets import (
    nested_subset,
    stratified_sample,
    validation_count,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The samples of a run.

    Attributes:
      name: short name of the data set.
      location: absolute path of the data set.
      class_names: in the order of the labels.
      train: the subset of `data_pct`, sorted by id.
      validation: the samples that each epoch is validated on.
      validation_from_test: whether the validation samples are part of the
        test split, because there is no validation split.
      final: the samples that the finished model is evaluated on.
      final_split: 'test', or 'validation' if there is no test split.
      skipped: the images left out because they cannot be read.
      shared_content: pairs of ids, of a sample of `train` and one of `final`
        that are the same image, byte for byte.
      fingerprint: hexadecimal digest of the class names and of role, id,
        label and content of every sample in `train` and `final`, and in
        `validation` if that is a split of its own.
      train_total: number of readable training samples, before the subset.
      splits: all readable samples of the data set, by split.
    """

    name: str
    location: str
    class_names: tuple[str, ...]
    train: Samples
    validation: Samples
    validation_from_test: bool
    final: Samples
    final_split: str
    skipped: tuple[BadImage, ...]
    shared_content: tuple[tuple[str, str], ...]
    fingerprint: str
    train_total: int
    splits: Mapping[str, CheckedSplit]

    @property
    def turned(self) -> tuple[str, ...]:
        """Paths of readable images whose EXIF orientation is not upright."""
        return tuple(
            printable(path)
            for part in self.splits.values()
            for path, file in zip(part.samples.paths, part.files, strict=True)
            if file.orientation != UPRIGHT
        )

    def to_json(self) -> dict[str, Any]:
        """Returns manifest.json, which `build_manifest` takes as `earlier`."""
        return {
            "name": self.name,
            "location": self.location,
            "class_names": list(self.class_names),
            "fingerprint": self.fingerprint,
            "train_total": self.train_total,
            "validation_from_test": self.validation_from_test,
            "final_split": self.final_split,
            "train_ids": list(self.train.ids),
            "validation_ids": list(self.validation.ids),
            "skipped": [dataclasses.asdict(bad) for bad in self.skipped],
            "turned": len(self.turned),
            "shared_content": [list(pair) for pair in self.shared_content],
            "splits": checks_to_json(self.splits),
        }


def build_manifest(
    *,
    dataset: str,
    tfds_data_dir: str | None,
    test_fraction: float,
    data_pct: float,
    seed: int,
    batch_size: int,
    validation_fraction: float,
    on_bad_image: str,
    earlier: Mapping[str, Any] | None = None,
    cache: FileCache | None = None,
) -> Manifest:
    """Checks every image and assigns samples to train, validation and test.

    Args:
      dataset: see `sources.open_source`.
      tfds_data_dir: see `sources.open_source`.
      test_fraction: see `sources.open_source`.
      data_pct: percentage of each class's readable training samples.
      seed: decides which samples are in the subset.
      batch_size: the global one; validation takes whole batches of the test
        split.
      validation_fraction: fraction of the test batches to validate on, if
        there is no validation split.
      on_bad_image: `fail` or `skip`.
      earlier: the `to_json` of an earlier start; unchanged files are not read
        again, and anything malformed is ignored.
      cache: holds results of the image checks of other runs.

    Raises:
      UsageError: there is no such data set.
      TrainerError: the data set cannot be used as it is.
    """
    source = open_source(
        dataset, tfds_data_dir=tfds_data_dir, test_fraction=test_fraction
    )
    splits, skipped = _check(
        source, earlier, cache or FileCache(None), on_bad_image
    )
    num_classes = len(source.class_names)
    train = splits["train"].take(
        nested_subset(splits["train"].samples, num_classes, data_pct, seed)
    )
    if "validation" in splits:
        validation = splits["validation"].samples
    else:
        validation = _validation_sample(
            splits["test"].samples, num_classes, batch_size, validation_fraction
        )
    return _assemble(source, splits, skipped, train, validation)


def _assemble(
    source: Source,
    splits: Mapping[str, CheckedSplit],
    skipped: tuple[BadImage, ...],
    train: CheckedSplit,
    validation: Samples,
) -> Manifest:
    """Returns the manifest of a subset and of validation samples."""
    final_split = "test" if "test" in splits else "validation"
    final = splits[final_split]
    roles = {"train": train, "final": final}
    # Validation samples that are part of `final` follow from it.
    if "validation" in splits:
        roles["validation"] = splits["validation"]
    return Manifest(
        name=source.name,
        location=source.location,
        class_names=source.class_names,
        train=train.samples,
        validation=validation,
        validation_from_test="validation" not in splits,
        final=final.samples,
        final_split=final_split,
        skipped=skipped,
        shared_content=_shared_content(train, final),
        fingerprint=_fingerprint(source.class_names, roles),
        train_total=len(splits["train"].samples),
        splits=splits,
    )


def _validation_sample(
    test: Samples, num_classes: int, batch_size: int, fraction: float
) -> Samples:
    """Returns the part of a test split that epochs are validated on."""
    count = validation_count(len(test), batch_size, fraction)
    return test.take(stratified_sample(test, num_classes, count))


def _check(
    source: Source,
    earlier: Mapping[str, Any] | None,
    cache: FileCache,
    on_bad_image: str,
) -> tuple[dict[str, CheckedSplit], tuple[BadImage, ...]]:
    """Returns the readable samples of each split, and the skipped images."""
    known = checks_from_json(earlier, source) or cached_checks(cache, source)
    results = [
        check_images(samples, split=split, known=known.get(split))
        for split, samples in source.splits().items()
    ]
    splits = apply_policy(
        results, class_names=source.class_names, on_bad_image=on_bad_image
    )
    cache_checks(cache, source, known, splits)
    skipped = tuple(bad for result in results for bad in result.bad)
    return {name: _with_digests(part) for name, part in splits.items()}, skipped


def _with_digests(part: CheckedSplit) -> CheckedSplit:
    """Returns the split with the digests of its files in its samples."""
    digests = tuple(file.digest for file in part.files)
    return dataclasses.replace(
        part, samples=dataclasses.replace(part.samples, digests=digests)
    )


def _shared_content(
    train: CheckedSplit, final: CheckedSplit
) -> tuple[tuple[str, str], ...]:
    """Returns a pair of ids per sample of `final` whose image is in `train`."""
    train_ids: dict[str, str] = {}
    for file, sample_id in zip(train.files, train.samples.ids, strict=True):
        train_ids.setdefault(file.digest, sample_id)
    return tuple(
        (train_ids[file.digest], sample_id)
        for file, sample_id in zip(final.files, final.samples.ids, strict=True)
        if file.digest in train_ids
    )


def _fingerprint(
    class_names: tuple[str, ...], roles: Mapping[str, CheckedSplit]
) -> str:
    """Returns a digest that does not depend on the order of the samples."""
    rows = sorted(
        (role, sample_id, int(label), file.digest)
        for role, part in roles.items()
        for sample_id, label, file in zip(
            part.samples.ids, part.samples.labels, part.files, strict=True
        )
    )
    text = json.dumps([class_names, rows])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
