"""Opens the data set that `--dataset` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainer.config.split_names import SplitNames
from trainer.data.folder import LAYOUTS, open_folder
from trainer.data.samples import Source, printable
from trainer.data.tfds_names import is_tfds_name
from trainer.data.tfds_source import open_tfds
from trainer.data.walk import is_archive
from trainer.errors import UsageError
from trainer.storage import files

__all__ = ["Source", "open_source"]


def open_source(
    dataset: str,
    *,
    tfds_data_dir: str | None,
    test_fraction: float,
    split_names: SplitNames | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Source:
    """Finds the samples of a data set; decodes none of them.

    Args:
      dataset: a folder; or `demo`, which comes with the project and is drawn
        on first use; or `food10`, ten classes of TFDS `food101`; or a TFDS
        name: `name`, `name/config`, `name:version`.
      tfds_data_dir: where TFDS keeps its data; None: its own default.
      test_fraction: fraction of each class to test on, if the data set has
        only one split.
      split_names: the folders of the splits that flags name.
      earlier: manifest.json of the run if it has one. Its splits are found as
        the version did that wrote it.

    Raises:
      UsageError: there is no such folder or TFDS data set.
      TrainerError: the data set cannot be used as it is.
    """
    check_dataset(dataset)
    path = os.path.expanduser(dataset)
    if files.is_dir(path):
        return open_folder(
            path,
            dataset=dataset,
            test_fraction=test_fraction,
            names=split_names,
            as_before=_is_of_earlier_version(path, earlier),
        )
    if split_names and split_names.given():
        split = next(iter(split_names.given()))
        raise UsageError(
            f"{split_names.shown(split)}: only folders of photos have such a"
            f" split, and --dataset={dataset} is none; leave it out"
        )
    return open_tfds(
        dataset, data_dir=tfds_data_dir, test_fraction=test_fraction
    )


def check_dataset(dataset: str) -> None:
    """Checks that a value can be a folder or a TFDS name; reads no data.

    Raises:
      UsageError: the value is empty, or a path that is not a folder.
    """
    if not dataset:
        raise UsageError(
            f"--dataset: not given; give {LAYOUTS}, demo, or a TFDS name, such"
            " as tf_flowers"
        )
    path = os.path.expanduser(dataset)
    if files.is_dir(path):
        return
    if files.exists(path):
        if is_archive(path) and files.is_file(path):
            raise UsageError(
                f"--dataset={dataset!r}: an archive; unpack it and give the"
                " folder that it holds"
            )
        what = "a file" if files.is_file(path) else "not a folder"
        raise UsageError(f"--dataset={dataset!r}: {what}; give {LAYOUTS}")
    if _is_path(dataset):
        raise UsageError(
            f"--dataset={dataset!r}: no such folder; give {LAYOUTS} or a"
            " TFDS name"
        )


def _is_of_earlier_version(
    path: str, manifest: Mapping[str, Any] | None
) -> bool:
    """Returns whether a manifest of a folder lacks `origins`."""
    return (
        isinstance(manifest, Mapping)
        and manifest.get("location") == printable(files.absolute(path))
        and "origins" not in manifest
    )


def _is_path(dataset: str) -> bool:
    """Returns whether a value must be a path; `name/config` may be TFDS's."""
    if dataset.startswith((".", "~")):
        return True
    separators = {os.sep, os.altsep or os.sep}
    return not separators.isdisjoint(dataset) and not is_tfds_name(dataset)
