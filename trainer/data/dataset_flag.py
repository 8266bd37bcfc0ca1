"""Checks the value of `--dataset` without TensorFlow."""

from __future__ import annotations

import os

from trainer.config.table_columns import TABLE_SUFFIXES, is_table
from trainer.data.folder import LAYOUTS
from trainer.data.tfds_names import is_tfds_name
from trainer.data.walk import is_archive
from trainer.errors import UsageError
from trainer.storage import files


def check_dataset(dataset: str) -> None:
    """Checks that a value can be data, or a TFDS name; reads no data.

    Raises:
      UsageError: the value is empty, or a path that is neither a folder nor a
        table.
    """
    if not dataset:
        raise UsageError(
            f"--dataset: not given; give {LAYOUTS}, demo, or a TFDS name, such"
            " as tf_flowers"
        )
    path = os.path.expanduser(dataset)
    if files.is_dir(path) or (is_table(path) and files.is_file(path)):
        return
    if files.exists(path):
        if is_archive(path) and files.is_file(path):
            raise UsageError(
                f"--dataset={dataset!r}: an archive; unpack it and give the"
                " folder that it holds"
            )
        what = "a file" if files.is_file(path) else "not a folder"
        raise UsageError(
            f"--dataset={dataset!r}: {what}; give {LAYOUTS}, or a table"
            f" ({', '.join(TABLE_SUFFIXES)})"
        )
    if _is_path(dataset) or is_table(dataset):
        what = "file" if is_table(dataset) else "folder"
        raise UsageError(
            f"--dataset={dataset!r}: no such {what}; give {LAYOUTS} or a"
            " TFDS name"
        )


def _is_path(dataset: str) -> bool:
    """Returns whether a value must be a path; `name/config` may be TFDS's."""
    if dataset.startswith((".", "~", os.sep)):
        return True
    separators = {os.sep, os.altsep or os.sep}
    return not separators.isdisjoint(dataset) and not is_tfds_name(dataset)
