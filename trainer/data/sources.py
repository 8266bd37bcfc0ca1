"""Opens the data set that `--dataset` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainer.config.fields import MULTILABEL
from trainer.config.grouping import COLUMN, NONE, GroupRule, parse_group_by
from trainer.config.split_names import SplitNames
from trainer.config.table_columns import (
    TABLE_SUFFIXES,
    is_table,
    parse_columns,
)
from trainer.data.dataset_flag import check_dataset
from trainer.data.folder import open_folder
from trainer.data.samples import Source, is_of_earlier_version, printable
from trainer.data.table import open_table
from trainer.data.tfds_source import open_tfds
from trainer.errors import UsageError
from trainer.storage import files

__all__ = ["Source", "open_source"]


def open_source(
    dataset: str,
    *,
    tfds_data_dir: str | None,
    test_fraction: float,
    columns: str | None = None,
    group_by: str | None = None,
    on_bad_row: str = "fail",
    split_names: SplitNames | None = None,
    earlier: Mapping[str, Any] | None = None,
    several: bool = False,
) -> Source:
    """Finds the samples of a data set; decodes none of them.

    Args:
      dataset: a folder; a table; `demo`, drawn on first use; `food10`; or a
        TFDS name: `name`, `name/config`, `name:version`.
      tfds_data_dir: where TFDS keeps its data; None: its own default.
      test_fraction: fraction of each class to test on, without a split for it.
      columns: for a table, the value of --columns.
      group_by: the value of --group_by; None: by a table's column of groups.
      on_bad_row: `fail` or `skip`, for a table.
      split_names: the folders of the splits that flags name.
      earlier: manifest.json of the run; splits are found as its version did.
      several: for a table, whether an image may have several labels.

    Raises:
      UsageError, TrainerError: there is no such data set, or it does not fit.
    """
    check_dataset(dataset)
    path = os.path.expanduser(dataset)
    rule = parse_group_by(group_by)
    _check_no_split_flags(dataset, split_names)
    if is_table(path) and files.is_file(path):
        return open_table(
            path,
            dataset=dataset,
            columns=parse_columns(columns),
            test_fraction=test_fraction,
            on_bad_row=on_bad_row,
            group_by=rule,
            several=several,
        )
    _check_no_table_flags(dataset, columns, rule, several)
    if files.is_dir(path):
        return open_folder(
            path,
            dataset=dataset,
            test_fraction=test_fraction,
            group_by=rule,
            names=split_names,
            as_before=_is_of_earlier_version(path, earlier),
        )
    _check_no_groups(dataset, rule)
    return open_tfds(
        dataset,
        data_dir=tfds_data_dir,
        test_fraction=test_fraction,
        earlier=earlier,
    )


def _check_no_split_flags(dataset: str, names: SplitNames | None) -> None:
    """Rejects the flags of folders of splits for another data set."""
    is_folder = files.is_dir(os.path.expanduser(dataset))
    if names and names.given() and not is_folder:
        split = next(iter(names.given()))
        raise UsageError(
            f"{names.shown(split)}: only folders of photos have such a"
            f" split, and --dataset={dataset} is not one; leave it out"
        )


def _check_no_table_flags(
    dataset: str, columns: str | None, rule: GroupRule | None, several: bool
) -> None:
    """Rejects the flags of tables for another data set."""
    if several:
        raise UsageError(
            f"--dataset={dataset!r}: not a table, but an image may have several"
            f" labels (--task={MULTILABEL}); give a file with one of"
            f" {', '.join(TABLE_SUFFIXES)}"
        )
    by_column = rule is not None and rule.mode == COLUMN
    for flag, given in {
        f"--columns={columns!r}": columns is not None,
        f"--group_by={COLUMN}": by_column,
    }.items():
        if given:
            raise UsageError(
                f"{flag}: {dataset!r} is not a table; leave it out, or give"
                f" --dataset=FILE with one of {', '.join(TABLE_SUFFIXES)}"
            )


def _check_no_groups(dataset: str, rule: GroupRule | None) -> None:
    """Rejects groups of a TFDS data set."""
    if rule is not None and rule.mode != NONE:
        raise UsageError(
            f"--group_by={rule.text!r}: the images of {dataset!r} have no"
            " paths, because it is a TFDS data set; leave it out"
        )


def _is_of_earlier_version(
    path: str, manifest: Mapping[str, Any] | None
) -> bool:
    return is_of_earlier_version(printable(files.absolute(path)), manifest)
