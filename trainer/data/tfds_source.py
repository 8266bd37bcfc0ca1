"""Opens TFDS data sets as sources of samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data.samples import (
    HELD_OUT,
    Samples,
    Source,
    is_of_earlier_version,
)
from trainer.data.subsets import split_flat
from trainer.data.tfds_builder import Builder
from trainer.data.tfds_features import feature_keys
from trainer.data.tfds_names import FOOD10, FOOD10_CLASSES, TFDS_NAMES
from trainer.data.tfds_splits import LabelledSplits, Splits

# Number of names of classes that a warning shows.
_SHOWN = 5


def open_tfds(
    dataset: str,
    *,
    data_dir: str | None,
    test_fraction: float,
    earlier: Mapping[str, Any] | None = None,
) -> Source:
    """Finds the samples of a TFDS data set; prepares it if necessary.

    The test split is the final one; without it the validation split is;
    without both a part of the train split. If the data set has both, each
    epoch is validated on the validation split. Records without a label and
    classes without a record are left out.

    Args:
      dataset: `name`, `name/config`, `name:version`, `food10`, or `demo`.
      data_dir: where TFDS keeps its data; None: its own default.
      test_fraction: fraction of each class to test on, if there is only a
        train split.
      earlier: manifest.json of the run if it has one; see
        `sources.open_source`.

    Raises:
      UsageError: there is no such data set.
      TrainerError: it cannot be prepared, or does not have labelled images.
    """
    builder = Builder(dataset, TFDS_NAMES.get(dataset, dataset), data_dir)
    # Before anything is downloaded.
    keys = feature_keys(builder)
    builder.prepare()
    as_before = is_of_earlier_version(builder.location, earlier)
    found = Splits(builder, keys).read(as_before=as_before)
    class_names, splits, notes = _classes(builder, dataset, found)
    train, validation = splits["train"], splits.get("validation")
    test = splits.get("test")
    origins = {split: f"the {split} split of {dataset}" for split in splits}
    if test is None:
        test, validation = validation, None
        origins["test"] = origins.get(
            "validation", f"{HELD_OUT} {origins['train']}"
        )
    if test is None:
        train, test = split_flat(
            train,
            class_names,
            test_fraction,
            dataset=dataset,
            remedy="give a data set with a test split",
        )
    return Source(
        name=dataset.split(":")[0].replace("/", "-"),
        location=builder.location,
        class_names=class_names,
        train=train,
        validation=validation,
        test=test,
        origins=origins,
        passed_over=found.passed_over,
        notes=(*notes, *_lacking(class_names, splits)),
    )


def _classes(
    builder: Builder, dataset: str, found: LabelledSplits
) -> tuple[tuple[str, ...], dict[str, Samples], tuple[str, ...]]:
    """Returns the classes to train on, their samples, and notes about them.

    Raises:
      TrainerError: fewer than two classes have records.
    """
    names = found.class_names
    used: tuple[str, ...] = FOOD10_CLASSES
    notes: tuple[str, ...] = ()
    if dataset != FOOD10:
        unused = _unused(names, found.splits)
        if not unused:
            return names, found.splits, ()
        used = tuple(name for name in names if name not in unused)
        if len(used) < 2:
            raise builder.error(
                f"only {used[0]!r} of {len(names):,} class names has records;"
                " give a data set with records of two classes or more"
            )
        notes = (_unused_note(unused, len(names)),)
    splits = {
        split: _only(samples, names, used)
        for split, samples in found.splits.items()
    }
    return used, splits, notes


def _lacking(
    names: tuple[str, ...], splits: Mapping[str, Samples]
) -> Iterator[str]:
    """Yields a line for each split without records of some classes.

    A class without training records is an error later.
    """
    for split, samples in splits.items():
        counts = samples.counts(len(names))
        missing = [names[i] for i in np.flatnonzero(counts == 0)]
        if missing and split != "train":
            yield (
                f"the {split} split has no record of {len(missing):,} of"
                f" {len(names):,} classes, so its results say nothing about"
                f" them: {_shown(missing)}"
            )


def _shown(names: Sequence[str]) -> str:
    """Returns some of the names, and the number of the others."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = len(names) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _unused(
    names: tuple[str, ...], splits: Mapping[str, Samples]
) -> frozenset[str]:
    """Returns the names of the classes that no split has a record of."""
    counts = sum(part.counts(len(names)) for part in splits.values())
    return frozenset(names[i] for i in np.flatnonzero(counts == 0))


def _unused_note(unused: frozenset[str], total: int) -> str:
    """Returns a line about classes without records."""
    return (
        f"{len(unused):,} of {total:,} class names have no record and are left"
        f" out: {_shown(sorted(unused))}"
    )


def _only(
    samples: Samples, names: tuple[str, ...], wanted: tuple[str, ...]
) -> Samples:
    """Returns the samples of some classes, labelled in their order.

    Args:
      samples: samples of all classes.
      names: the names of all classes.
      wanted: the names of the classes to keep.
    """
    new_label = np.array(
        [wanted.index(name) if name in wanted else -1 for name in names],
        np.int32,
    )
    labels = new_label[samples.labels]
    rows = np.flatnonzero(labels >= 0)
    return dataclasses.replace(samples.take(rows), labels=labels[rows])
