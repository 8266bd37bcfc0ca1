"""The samples that a run trains on, validates on and is tested on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trainer.cache import FileCache
from trainer.config.validation import SPLIT, TEST, ValidationRule
from trainer.data.check import (
    BadImage,
    CheckedSplit,
    apply_policy,
    check_images,
)
from trainer.data.duplicates import (
    WARN,
    Contradiction,
    contradictions,
    shared_content,
    without_duplicates,
)
from trainer.data.earlier_checks import (
    cache_checks,
    cached_checks,
    checks_from_json,
    checks_to_json,
)
from trainer.data.headers import UPRIGHT
from trainer.data.label_sets import nested_label_subset
from trainer.data.passed_over import PassedOver
from trainer.data.sample_weights import (
    check_weights,
    weights_fields,
    weights_to_json,
)
from trainer.data.samples import BadRow, Samples, Source, printable
from trainer.data.subsets import nested_subset
from trainer.data.validation import (
    Roles,
    assign_roles,
    check_split,
    without_test,
)

# The value of `final_split` if the run does not read the test split. The final
# samples are then the validation samples.
UNTESTED = "held_out"
# The value of `final_split` if a folder is evaluated as a whole.
WHOLE_FOLDER = "whole_folder"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The samples of a run.

    Attributes:
      name: short name of the data set.
      location: absolute path of the data set.
      class_names: in the order of the labels.
      train: the subset of `data_pct` without the validation samples, sorted
        by id.
      validation: the samples that each epoch is validated on.
      validation_source: where they come from: 'split', 'test', 'train' or
        'fold 2 of 5'.
      final: the samples that the finished model is evaluated on.
      final_split: 'test', or 'validation' if there is no test split, or
        `UNTESTED`.
      skipped: the images left out because they cannot be read.
      shared_content: pairs of ids, of a sample of `train` and one of `final`
        that are the same image, byte for byte.
      shared_validation: the same for samples of `train` and `validation`, if
        the latter are not part of `final`.
      fingerprint: hexadecimal digest of the class names and of role, id,
        label, group and content of every sample in `train` and `final`, and in
        `validation` unless those come from the test split; and of the weights
        in `train`.
      train_total: number of readable training samples, before the subset.
      splits: all readable samples of the data set, by split.
      bad_rows: the rows of a table that were left out.
      contradictions: the images that have several labels.
      origins: see `samples.Source`.
      passed_over: see `samples.Source`.
      notes: see `samples.Source`.
    """

    name: str
    location: str
    class_names: tuple[str, ...]
    train: Samples
    validation: Samples
    validation_source: str
    final: Samples
    final_split: str
    skipped: tuple[BadImage, ...]
    shared_content: tuple[tuple[str, str], ...]
    fingerprint: str
    train_total: int
    splits: Mapping[str, CheckedSplit]
    shared_validation: tuple[tuple[str, str], ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()

    @property
    def validation_from_test(self) -> bool:
        """Whether the validation samples are part of the test split."""
        return self.validation_source == TEST

    @property
    def validates_on_final(self) -> bool:
        """Whether the validation samples are part of `final`."""
        own = self.final_split == "validation"
        return self.validation_from_test or (
            own and self.validation_source == SPLIT
        )

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
        # Without them a run of an earlier version keeps its splits.
        origins = {"origins": dict(self.origins)} if self.origins else {}
        return {
            **origins,
            "name": self.name,
            "location": self.location,
            "class_names": list(self.class_names),
            "fingerprint": self.fingerprint,
            "train_total": self.train_total,
            "validation_from_test": self.validation_from_test,
            "validation_source": self.validation_source,
            "final_split": self.final_split,
            "train_ids": list(self.train.ids),
            "validation_ids": list(self.validation.ids),
            "passed_over": {
                reason: dict(by)
                for reason, by in self.passed_over.counts.items()
            },
            "skipped": [dataclasses.asdict(bad) for bad in self.skipped],
            "turned": len(self.turned),
            "shared_content": [list(pair) for pair in self.shared_content],
            "shared_validation": [list(p) for p in self.shared_validation],
            "bad_rows": [dataclasses.asdict(bad) for bad in self.bad_rows],
            "contradictions": [list(c.samples) for c in self.contradictions],
            "splits": checks_to_json(self.splits),
            **self._groups_to_json(),
            **weights_to_json(self.train),
        }

    def _groups_to_json(self) -> dict[str, Any]:
        """Returns the group of each sample in `splits`; {} without groups."""
        found = {
            split: list(part.samples.groups)
            for split, part in self.splits.items()
            if part.samples.groups
        }
        return {"groups": found} if found else {}


def build_manifest(
    *,
    source: Source,
    data_pct: float,
    seed: int,
    batch_size: int,
    validation_fraction: float,
    on_bad_image: str,
    validation: ValidationRule | None = None,
    earlier: Mapping[str, Any] | None = None,
    cache: FileCache | None = None,
    tests: bool = True,
    shots: int | None = None,
    on_duplicate: str = WARN,
) -> Manifest:
    """Checks every image and assigns samples to train, validation and test.

    Args:
      source: the data set.
      data_pct: percentage of each class's readable training samples.
      seed: decides which samples are in the subset.
      batch_size: the global one; see `assign_roles`.
      validation_fraction: fraction of test batches, if validation uses these.
      on_bad_image: `fail` or `skip`.
      validation: None uses the validation split, or else the test split.
      earlier: the `to_json` of an earlier start, or anything malformed.
      cache: holds results of the image checks of other runs.
      tests: whether to read the test split; other samples stay the same.
      shots: number of each class's readable training samples, in place of
        `data_pct`; None uses that.
      on_duplicate: `warn`, `skip` or `fail`; see `duplicates.kept_rows`.

    Raises:
      UsageError: the data set lacks the split of `validation`.
      TrainerError: the data set cannot be used as it is.
    """
    validation, source = _checked(validation, source, tests=tests)
    splits, skipped = _check(source, earlier, cache, on_bad_image)
    train = splits["train"].samples
    names = source.class_names
    rows = (
        nested_label_subset(train, data_pct, seed)
        if train.multilabel
        else nested_subset(train, len(names), data_pct, seed, shots)
    )
    roles = assign_roles(
        validation,
        splits,
        splits["train"].take(rows),
        names,
        seed=seed,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
    )
    others = [roles.validation]
    if tests:
        others.append(splits[_final_split(splits)])
    kept = without_duplicates(on_duplicate, roles.train, others, names)
    roles = dataclasses.replace(roles, train=kept)
    return _assemble(source, splits, skipped, roles, tests=tests)


def _final_split(splits: Mapping[str, CheckedSplit]) -> str:
    return "test" if "test" in splits else "validation"


def _checked(
    rule: ValidationRule | None, source: Source, *, tests: bool
) -> tuple[ValidationRule | None, Source]:
    """Returns rule and source, without the test split if it is not read."""
    check_split(rule, source)
    return (rule, source) if tests else without_test(rule, source)


def _assemble(
    source: Source,
    splits: Mapping[str, CheckedSplit],
    skipped: tuple[BadImage, ...],
    roles: Roles,
    *,
    tests: bool,
) -> Manifest:
    """Returns the manifest of samples whose roles are assigned."""
    check_weights(roles.train.samples, source.location)
    final_split = _final_split(splits) if tests else UNTESTED
    final = splits[final_split] if tests else roles.validation
    by_role = {"train": roles.train, "final": final}
    # Validation samples from the test split follow from it.
    if roles.source != TEST:
        by_role["validation"] = roles.validation
    manifest = Manifest(
        name=source.name,
        location=source.location,
        class_names=source.class_names,
        train=roles.train.samples,
        validation=roles.validation.samples,
        validation_source=roles.source,
        final=final.samples,
        final_split=final_split,
        skipped=skipped,
        shared_content=shared_content(roles.train, final),
        fingerprint=_fingerprint(source.class_names, by_role),
        train_total=len(splits["train"].samples),
        splits=splits,
        bad_rows=source.bad_rows,
        contradictions=contradictions(splits, source.class_names),
        origins=source.origins,
        passed_over=source.passed_over,
        notes=source.notes,
    )
    if manifest.validates_on_final:
        return manifest
    shared = shared_content(roles.train, roles.validation)
    return dataclasses.replace(manifest, shared_validation=shared)


def _check(
    source: Source,
    earlier: Mapping[str, Any] | None,
    cache: FileCache | None,
    on_bad_image: str,
) -> tuple[dict[str, CheckedSplit], tuple[BadImage, ...]]:
    """Returns the readable samples of each split, and the skipped images."""
    cache = cache or FileCache(None)
    known = checks_from_json(earlier, source.location) or cached_checks(
        cache, source.location
    )
    if source.test is None:
        known = {name: part for name, part in known.items() if name != "test"}
    results = [
        check_images(samples, split=split, known=known.get(split))
        for split, samples in source.splits().items()
    ]
    splits = apply_policy(
        results, class_names=source.class_names, on_bad_image=on_bad_image
    )
    cache_checks(cache, source.location, known, splits)
    skipped = tuple(bad for result in results for bad in result.bad)
    return {name: part.with_digests() for name, part in splits.items()}, skipped


def _fingerprint(
    class_names: tuple[str, ...], roles: Mapping[str, CheckedSplit]
) -> str:
    """Returns a digest that does not depend on the order of the samples."""
    rows = sorted(
        (role, sample_id, label, file.digest)
        for role, part in roles.items()
        for sample_id, label, file in zip(
            part.samples.ids,
            part.samples.label_values(),
            part.files,
            strict=True,
        )
    )
    # The folds of a solved head depend on the groups. Without groups the
    # digest is as before there were any.
    groups = sorted(
        (role, sample_id, group)
        for role, part in roles.items()
        if part.samples.groups
        for sample_id, group in zip(
            part.samples.ids, part.samples.groups, strict=True
        )
    )
    digested = [class_names, rows, groups] if groups else [class_names, rows]
    digested += weights_fields(roles["train"].samples)
    text = json.dumps(digested)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
