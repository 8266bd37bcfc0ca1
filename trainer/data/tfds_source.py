"""Opens TFDS data sets as sources of samples."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.data.samples import HELD_OUT, Samples, Source
from trainer.data.subsets import split_flat
from trainer.data.tfds_builder import Builder
from trainer.data.tfds_names import FOOD10, FOOD10_CLASSES, TFDS_NAMES
from trainer.data.tfds_splits import Splits, feature_keys


def open_tfds(
    dataset: str, *, data_dir: str | None, test_fraction: float
) -> Source:
    """Finds the samples of a TFDS data set; prepares it if necessary.

    The test split is the final one; without it the validation split is;
    without both a part of the train split. If the data set has both, each
    epoch is validated on the validation split.

    Args:
      dataset: `name`, `name/config`, `name:version`, `food10`, or `demo`.
      data_dir: where TFDS keeps its data; None: its own default.
      test_fraction: fraction of each class to test on, if there is only a
        train split.

    Raises:
      UsageError: there is no such data set.
      TrainerError: it cannot be prepared, or does not have labelled images.
    """
    builder = Builder(dataset, TFDS_NAMES.get(dataset, dataset), data_dir)
    # Before anything is downloaded.
    image_key, label_key = feature_keys(builder)
    builder.prepare()
    reader = Splits(builder, image_key, label_key)
    class_names, splits = reader.class_names, reader.read()
    if dataset == FOOD10:
        splits = {
            split: _only(samples, class_names, FOOD10_CLASSES)
            for split, samples in splits.items()
        }
        class_names = FOOD10_CLASSES
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
