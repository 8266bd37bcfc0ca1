"""Opens tables of images: CSV, TSV or JSON lines."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.config.grouping import COLUMN, GroupRule
from trainer.config.table_columns import GROUP, LABEL, SPLIT
from trainer.data.group_names import grouped
from trainer.data.label_cells import label_matrix, other_separator
from trainer.data.label_sets import split_labels
from trainer.data.samples import (
    HELD_OUT,
    SEPARATOR,
    WHOLE_FILE,
    BadRow,
    Samples,
    Source,
    printable,
    without_ones,
)
from trainer.data.subsets import split_flat
from trainer.data.table_rows import read_rows
from trainer.data.usable_rows import (
    LEGAL_SPLITS,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    UsableRows,
)
from trainer.errors import TrainerError, UsageError, shortened
from trainer.storage import files

_MAX_NAMES_CHARS = 200


class BadRowsError(TrainerError):
    """Raised if rows cannot be used and the policy is to fail.

    Attributes:
      bad: all of these rows; the message names the first.
    """

    def __init__(self, dataset: str, bad: Sequence[BadRow]) -> None:
        """Creates the error.

        Args:
          dataset: the name that the user gave.
          bad: the rows, at least one.
        """
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        super().__init__(
            f"--dataset={dataset!r}: {bad[0]}{more}; fix or remove it, or"
            " --on_bad_image=skip trains on the rest"
        )
        self.bad = tuple(bad)


def open_table(
    path: str,
    *,
    dataset: str,
    columns: Mapping[str, str],
    test_fraction: float,
    on_bad_row: str,
    group_by: GroupRule | None = None,
    several: bool = False,
) -> Source:
    """Reads a table of images; opens none of them.

    Each row has the path of an image, relative to the table's folder, and the
    name of its class. A column of splits assigns the rows to train, validation
    and test. Without it, a part of each class is held out to test on.

    Args:
      path: an existing .csv, .tsv or .jsonl file.
      dataset: the name that the user gave, for errors.
      columns: see `table_columns.parse_columns`.
      test_fraction: fraction of each class to test on, if there is neither a
        test nor a validation split.
      on_bad_row: `fail` or `skip`.
      group_by: which images form a group; None reads the column of groups, if
        the table has one.
      several: whether an image may have any number of labels; see
        `label_cells.label_set`.

    Returns:
      The source. The id of a sample is its path as written, in POSIX form and
      NFC.

    Raises:
      BadRowsError: there are rows that cannot be used, and they are not
        skipped.
      TrainerError: the table cannot be used; the message says why.
    """
    root = files.absolute(path)
    by_column = group_by is None or group_by.mode == COLUMN
    table = UsableRows(by_column, several)
    bad: list[BadRow] = []
    for row in read_rows(path, columns, dataset=dataset, several=several):
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            reason = table.add(row)
            if reason:
                bad.append(BadRow(line=row.line, reason=reason))
    bad = sorted([*bad, *table.finish()], key=lambda row: row.line)
    if bad and on_bad_row == "fail":
        raise BadRowsError(dataset, bad)
    return _Opened(
        root=root,
        dataset=dataset,
        columns=columns,
        group_by=group_by,
        table=table,
        bad=bad,
        several=several,
    ).source(test_fraction)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A table whose rows are read."""

    root: str
    dataset: str
    columns: Mapping[str, str]
    group_by: GroupRule | None
    table: UsableRows
    bad: list[BadRow]
    several: bool

    def source(self, test_fraction: float) -> Source:
        """Returns the data set; see `open_table`."""
        table = self.table
        if not len(table.rows):
            left_out = f" ({len(self.bad)} left out)" if self.bad else ""
            raise self._error(
                f"has no usable row{left_out}; give a table with one row per"
                " image"
            )
        labels = np.array(table.labels, np.int32)
        splits = np.array(table.splits, np.int8)
        found, renumbered = self._classes(labels)
        parts = {}
        for number, split in enumerate(SPLITS):
            rows = table.rows[splits[table.rows] == number]
            if len(rows):
                parts[split or TRAIN] = self._samples(rows, renumbered[labels])
        self._check(parts, found)
        self._check_column()
        parts = grouped(parts, self.group_by, dataset=self.dataset)
        file = printable(os.path.basename(self.root))
        origins = dict.fromkeys(parts, file)
        if len(parts) == 1:
            parts[TRAIN], parts[TEST] = self._split(
                parts[TRAIN], found, test_fraction
            )
            origins[TEST] = f"{HELD_OUT} {file}"
        stem = os.path.splitext(os.path.basename(self.root))[0]
        return Source(
            name=printable(stem) or "table",
            location=printable(self.root),
            class_names=found,
            train=parts[TRAIN],
            validation=parts.get(VALIDATION),
            test=parts.get(TEST),
            bad_rows=tuple(self.bad),
            origins=origins,
        )

    def _classes(
        self, labels: np.ndarray
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Returns the class names, and what the label numbers mean.

        Args:
          labels: int32, the label number of each row.

        Returns:
          The sorted names. For each label number, the index of its class; with
          several labels, a row of 0 and 1, one for each class.
        """
        names = list(self.table.label_names)
        used = np.unique(labels[self.table.rows]).tolist()
        if self.several:
            mistaken = other_separator([names[n] for n in used])
            if mistaken:
                label, separator = mistaken
                raise self._error(
                    "no image has two labels, but the label"
                    f" {shortened(repr(label))} has a {separator!r}; write"
                    f" {SEPARATOR} between the labels of an image, or rename"
                    " the label"
                )
            return label_matrix(names, used)
        found = sorted({names[n] for n in used})
        of_name = {name: number for number, name in enumerate(found)}
        numbers = [of_name.get(n, -1) for n in names]
        return tuple(found), np.array(numbers, np.int32)

    def _split(
        self, samples: Samples, names: tuple[str, ...], fraction: float
    ) -> tuple[Samples, Samples]:
        """Returns the samples to train on and to test on."""
        if self.several:
            return split_labels(samples, fraction, dataset=self.dataset)
        return split_flat(
            samples,
            names,
            fraction,
            dataset=self.dataset,
            remedy="add rows, or remove those of the class",
        )

    def _samples(self, rows: np.ndarray, labels: np.ndarray) -> Samples:
        table, folder = self.table, os.path.dirname(self.root)
        numbers = rows.tolist()
        groups = tuple(table.groups[row] for row in numbers)
        return Samples(
            ids=tuple(table.ids[row] for row in numbers),
            labels=labels[rows],
            paths=tuple(_joined(folder, table.paths[row]) for row in numbers),
            offsets=np.zeros(len(rows), np.int64),
            lengths=np.full(len(rows), WHOLE_FILE, np.int64),
            groups=groups if any(table.groups) else (),
            weights=without_ones(np.array(table.weights), rows),
        )

    def _check(
        self, parts: Mapping[str, Samples], names: tuple[str, ...]
    ) -> None:
        """Checks that there are two classes, and all of them in each split.

        With several labels, only training needs all classes.
        """
        if not names:
            raise self._error(
                f"no image has a label; fill the column {self.columns[LABEL]!r}"
            )
        if len(names) < 2:
            remedy = (
                "; to find images of it, give --task=single and a second label"
                " for all others"
                if self.several
                else ""
            )
            raise self._error(
                f"one class only, {names[0]!r}; classifying needs two or"
                f" more{remedy}"
            )
        if TRAIN not in parts:
            raise self._error(
                f"no row of split {TRAIN!r}; the column"
                f" {self.columns[SPLIT]!r} must have {LEGAL_SPLITS}, or give"
                f" --columns={SPLIT}= to ignore it"
            )
        for split, samples in parts.items():
            counts = samples.counts(len(names)).tolist()
            missing = [n for n, c in zip(names, counts, strict=True) if not c]
            if missing and (split == TRAIN or not self.several):
                listed = ", ".join(map(repr, missing))
                who = "training" if self.several else "each split"
                raise self._error(
                    f"no {split} row of class"
                    f" {shortened(listed, _MAX_NAMES_CHARS)}; {who} needs"
                    " every class: add rows, or remove those of the class"
                )
            if not any(counts):
                raise self._error(
                    f"no {split} row has a label, so there is nothing to"
                    " measure; add rows with labels"
                )

    def _check_column(self) -> None:
        rule = self.group_by
        asked = rule is not None and rule.mode == COLUMN
        if asked and not any(self.table.groups):
            raise UsageError(
                f"--group_by={COLUMN}: the table has no groups in a column"
                f" {self.columns[GROUP] or GROUP!r}; name the column with"
                f" --columns={GROUP}=NAME"
            )

    def _error(self, text: str) -> TrainerError:
        return TrainerError(f"--dataset={self.dataset!r}: {text}")


def _joined(folder: str, path: str) -> str:
    return path if files.is_remote(path) else os.path.join(folder, path)
