"""Chooses the samples that each epoch is validated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from decimal import Decimal

import numpy as np

from trainer.config.validation import (
    FOLD,
    SPLIT,
    TEST,
    TRAIN,
    ValidationRule,
)
from trainer.data.check import CheckedSplit
from trainer.data.label_sets import label_sample, labels_held_out
from trainer.data.samples import Samples, Source
from trainer.data.subsets import (
    count_units,
    fold_numbers,
    held_out,
    stratified_sample,
    validation_count,
)
from trainer.errors import TrainerError, UsageError, shortened

_MAX_NAMES_CHARS = 200
_PHRASES = {
    SPLIT: "its own split",
    TEST: "photos of the test split",
    TRAIN: "photos held out of the training subset",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Roles:
    """The samples to train and to validate on.

    Attributes:
      train: the training subset without the validation samples.
      validation: the validation samples.
      source: where they come from: SPLIT, TEST, TRAIN or `fold 2 of 5`.
    """

    train: CheckedSplit
    validation: CheckedSplit
    source: str


def check_split(rule: ValidationRule | None, source: Source) -> None:
    """Checks that the data has the split that a rule names.

    Raises:
      UsageError: it does not.
    """
    if rule is None:
        return
    if rule.mode == SPLIT and source.validation is None:
        raise UsageError(
            f"--validation={SPLIT}: {source.name} has no validation split; add"
            " a folder val/ to a folder of photos, or give"
            " --validation=train:0.1"
        )
    if rule.mode == TEST and source.test is None:
        raise UsageError(
            f"--validation={TEST}: {source.name} has no test split; give"
            f" --validation={SPLIT} for its validation split, or"
            " --validation=train:0.1"
        )


def without_test(
    rule: ValidationRule | None, source: Source
) -> tuple[ValidationRule, Source]:
    """Removes the test split, so that none of its images is read.

    Returns:
      A rule that selects the same validation samples, and the source without
      its test split.

    Raises:
      UsageError: the rule selects samples that the finished model is tested
        on.
    """
    if rule is None or rule.mode == TEST:
        raise UsageError(
            f"--validation={TEST}: chooses by test images; give"
            " --validation=auto"
        )
    if rule.mode == SPLIT and source.test is None:
        raise UsageError(
            f"--validation={SPLIT}: {source.name} has no test split, so a run"
            " is tested on its validation split; give --validation=train:0.1"
        )
    # Resolves `auto` here, because `_mode` needs the test split to do so.
    if rule.auto and None not in (source.test, source.validation):
        rule = dataclasses.replace(rule, mode=SPLIT)
    rule = dataclasses.replace(rule, auto=False)
    return rule, dataclasses.replace(source, test=None)


def assign_roles(
    rule: ValidationRule | None,
    splits: Mapping[str, CheckedSplit],
    subset: CheckedSplit,
    class_names: tuple[str, ...],
    *,
    seed: int,
    batch_size: int,
    validation_fraction: float,
) -> Roles:
    """Returns the samples to train and to validate on.

    Args:
      rule: of --validation, which must not be KFOLD; None if it is unset.
      splits: the readable samples of each split.
      subset: the training subset of `data_pct`.
      class_names: in the order of the labels.
      seed: the seed of the subset.
      batch_size: the global one; whole batches of the test split are taken.
      validation_fraction: see `build_manifest`.

    Raises:
      TrainerError: classes have too few samples in the subset.
    """
    mode = _mode(rule, splits)
    if mode == SPLIT:
        return Roles(
            train=subset, validation=splits["validation"], source=SPLIT
        )
    if mode == TEST:
        test = splits["test"].samples
        count = validation_count(len(test), batch_size, validation_fraction)
        rows = _sample(test, len(class_names), count)
        return Roles(
            train=subset, validation=splits["test"].take(rows), source=TEST
        )
    assert rule is not None
    if mode == TRAIN:
        chosen = _in_subset(
            splits,
            subset,
            lambda samples: _held_out(samples, rule.fraction, seed),
        )
        _check_some_held_out(rule, chosen, subset.samples)
        source = TRAIN
    else:
        assert mode == FOLD
        _check_folds(rule, subset, class_names)
        numbers = fold_of_each(splits, subset, rule.folds, seed)
        chosen = numbers == rule.fold
        _check_each_is_trained(rule, subset.samples, chosen, class_names)
        source = f"fold {rule.fold} of {rule.folds}"
    return Roles(
        train=subset.take(np.flatnonzero(~chosen)),
        validation=subset.take(np.flatnonzero(chosen)),
        source=source,
    )


def _sample(samples: Samples, num_classes: int, count: int) -> np.ndarray:
    """Returns the rows of a fixed stratified sample of the test split."""
    if samples.multilabel:
        return label_sample(samples, count)
    return stratified_sample(samples, num_classes, count)


def _held_out(samples: Samples, fraction: Decimal, seed: int) -> np.ndarray:
    """Returns which samples are held out to validate on, bool (n,)."""
    if samples.multilabel:
        return labels_held_out(samples, fraction, seed)
    return held_out(samples, fraction, seed)


def fold_of_each(
    splits: Mapping[str, CheckedSplit],
    subset: CheckedSplit,
    folds: int,
    seed: int,
) -> np.ndarray:
    """Returns the fold of each sample of the training subset.

    Args:
      splits: the readable samples of each split.
      subset: the training subset, n samples.
      folds: number of folds.
      seed: the seed of the subset.

    Returns:
      int64 (n,), from 1 to `folds`.
    """
    return _in_subset(
        splits, subset, lambda samples: fold_numbers(samples, folds, seed)
    )


def _in_subset(
    splits: Mapping[str, CheckedSplit],
    subset: CheckedSplit,
    rule: Callable[[Samples], np.ndarray],
) -> np.ndarray:
    """Returns what a rule says of each sample of the subset.

    The groups before a group decide its role, and a smaller subset may lack
    some of these. The same is true of samples with several labels. So that no
    role changes with --data_pct, such a rule is applied to all training
    samples.
    """
    if not subset.samples.groups and not subset.samples.multilabel:
        return rule(subset.samples)
    train = splits["train"].samples
    rows = {sample_id: row for row, sample_id in enumerate(train.ids)}
    return rule(train)[[rows[sample_id] for sample_id in subset.samples.ids]]


def source_phrase(source: str) -> str:
    """Returns a phrase for the source of the validation samples."""
    return _PHRASES.get(source, f"{source} of the training subset")


def classes_without_validation(
    train: np.ndarray, validation: np.ndarray, class_names: tuple[str, ...]
) -> str:
    """Returns the names of classes that are trained on only; "" if none.

    Args:
      train: int (classes,), number of training samples of each class.
      validation: int (classes,), number of validation samples of each class.
      class_names: in the order of the labels.
    """
    rows = np.flatnonzero((train > 0) & (validation == 0))
    return _joined([class_names[row] for row in rows])


def _mode(
    rule: ValidationRule | None, splits: Mapping[str, CheckedSplit]
) -> str:
    """Returns SPLIT, TEST, TRAIN or FOLD."""
    has_split = "validation" in splits
    if rule is None:
        return SPLIT if has_split else TEST
    # Without a test split, the validation split is what the finished model is
    # evaluated on, and auto leaves it for that.
    if rule.auto and has_split and "test" in splits:
        return SPLIT
    return rule.mode


def _check_some_held_out(
    rule: ValidationRule, chosen: np.ndarray, subset: Samples
) -> None:
    if not chosen.any():
        what = "group" if subset.groups else "sample"
        why = f"each class has one training {what} in the subset, so none can"
        if subset.multilabel:
            why = f"the subset has no {what} to spare, so none can"
        raise TrainerError(
            f"--validation={rule.text}: {why} be held out; give a larger"
            " --data_pct, or add images"
        )


def _check_each_is_trained(
    rule: ValidationRule,
    subset: Samples,
    chosen: np.ndarray,
    class_names: tuple[str, ...],
) -> None:
    """Checks that no class is in one fold alone, as groups may cause."""
    counts = subset.take(np.flatnonzero(~chosen)).counts(len(class_names))
    missing = [repr(class_names[row]) for row in np.flatnonzero(counts == 0)]
    if missing:
        raise TrainerError(
            f"--validation={rule.text}: all groups of class {_joined(missing)}"
            f" are in fold {rule.fold}; give another number of folds, or add"
            " images of other groups"
        )


def _check_folds(
    rule: ValidationRule, subset: CheckedSplit, class_names: tuple[str, ...]
) -> None:
    grouped = bool(subset.samples.groups)
    counts = count_units(subset.samples, len(class_names)).tolist()
    small = [
        f"{name!r} has {n}"
        for name, n in zip(class_names, counts, strict=True)
        if n < rule.folds
    ]
    if not small:
        return
    raise TrainerError(
        f"--validation={rule.text}: {rule.folds} folds need {rule.folds}"
        f" training {'groups' if grouped else 'samples'} of each class in the"
        f" subset; {_joined(small)};"
        " give fewer folds or a larger --data_pct, or add images"
    )


def _joined(names: list[str]) -> str:
    return shortened(", ".join(names), _MAX_NAMES_CHARS)
