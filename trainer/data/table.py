"""Opens tables of images: CSV, TSV or JSON lines."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import unicodedata
from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.config.grouping import COLUMN, GroupRule
from trainer.config.table_columns import GROUP, SPLIT
from trainer.data.group_names import grouped
from trainer.data.samples import (
    HELD_OUT,
    WHOLE_FILE,
    BadRow,
    Samples,
    Source,
    printable,
    without_ones,
)
from trainer.data.subsets import split_flat
from trainer.data.table_rows import TableRow, read_rows
from trainer.errors import TrainerError, UsageError, shortened
from trainer.storage import files

_MAX_NAMES_CHARS = 200
# A float32 can hold all weights and their products with those of classes.
_LOWEST, _HIGHEST = 1e-6, 1e6
_TRAIN, _VALIDATION, _TEST = "train", "validation", "test"
# How tables write the names of the splits, in lower case. `eval` is none: some
# data sets validate on it, others test on it.
_SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trn"), _TRAIN),
    **dict.fromkeys(
        ("val", "valid", "validate", "validation", "dev"), _VALIDATION
    ),
    **dict.fromkeys(("test", "testing", "tst"), _TEST),
}
# The numbers of the splits in `_Columns.splits`; 0 is none.
_SPLITS = ("", _TRAIN, _VALIDATION, _TEST)
_LEGAL_SPLITS = "train, validation and test"


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
    table = _Columns(by_column)
    bad: list[BadRow] = []
    for row in read_rows(path, columns, dataset=dataset):
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
    ).source(test_fraction)


class _Columns:
    """The cells of the usable rows, by column, without repeated texts."""

    def __init__(self, by_column: bool) -> None:
        """Creates empty columns.

        Args:
          by_column: whether to read the column of groups.
        """
        self._by_column = by_column
        self.ids: list[str] = []
        # The path as written; the id itself where both are the same.
        self.paths: list[str] = []
        self.lines = array("q")
        self.labels = array("i")
        self.splits = array("b")
        self.groups: list[str] = []
        self.label_names: dict[str, int] = {}
        self.weights = array("d")
        # Rows of the usable images in the order of their ids.
        self.rows = np.zeros(0, np.int64)
        self._texts: dict[str, str] = {}

    def add(self, row: TableRow) -> str | None:
        """Adds a row; returns what is wrong with it, or None."""
        split = ""
        if row.split:
            split = _SPLIT_NAMES.get(row.split.lower(), "?")
            if split == "?":
                return f"no split {row.split!r}; legal are {_LEGAL_SPLITS}"
        weight = _weight(row.weight)
        if weight is None:
            return (
                f"no weight {row.weight!r}; legal are 0 and numbers from"
                f" {_LOWEST:g} to {_HIGHEST:g}"
            )
        label = unicodedata.normalize("NFC", printable(row.label))
        sample_id = _id_of(row.path)
        self.ids.append(sample_id)
        self.paths.append(sample_id if sample_id == row.path else row.path)
        self.lines.append(row.line)
        number = self.label_names.setdefault(label, len(self.label_names))
        self.labels.append(number)
        self.splits.append(_SPLITS.index(split))
        self.weights.append(weight)
        group = row.group if self._by_column else ""
        self.groups.append(self._texts.setdefault(group, group))
        return None

    def finish(self) -> list[BadRow]:
        """Orders the rows by id; returns those that cannot be used."""
        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        bad: dict[int, str] = {}
        # Sorting is stable: the first of equal ids has the first line.
        first = -1
        for row in order:
            if first >= 0 and self.ids[row] == self.ids[first]:
                bad[row] = _repeats(self, first, row)
            else:
                first = row
        splits = np.array(self.splits, np.int8)
        if splits.any():
            for row in np.flatnonzero(splits == 0).tolist():
                bad.setdefault(row, "no split, but other rows have one")
        self.rows = np.array([r for r in order if r not in bad], np.int64)
        return [
            BadRow(line=self.lines[row], reason=reason)
            for row, reason in bad.items()
        ]


def _repeats(table: _Columns, first: int, row: int) -> str:
    where = f"{table.ids[row]!r} is in line {table.lines[first]} too"
    if table.labels[row] != table.labels[first]:
        names = list(table.label_names)
        return f"{where}, with the label {names[table.labels[first]]!r}"
    return where


def _weight(text: str) -> float | None:
    """Returns the weight in a cell, 1 in an empty one; None if illegal."""
    if not text:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        return None
    legal = weight == 0 or _LOWEST <= weight <= _HIGHEST
    return weight if legal else None


def _id_of(path: str) -> str:
    """Returns the id of the image with a path as written in a table."""
    text = unicodedata.normalize("NFC", printable(path))
    if files.is_remote(text):
        return text
    return posixpath.normpath(text.replace(os.sep, "/"))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A table whose rows are read."""

    root: str
    dataset: str
    columns: Mapping[str, str]
    group_by: GroupRule | None
    table: _Columns
    bad: list[BadRow]

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
        names = list(table.label_names)
        found = sorted({names[n] for n in np.unique(labels[table.rows])})
        of_name = {name: number for number, name in enumerate(found)}
        renumbered = np.array([of_name.get(n, -1) for n in names], np.int32)
        parts = {}
        for number, split in enumerate(_SPLITS):
            rows = table.rows[splits[table.rows] == number]
            if len(rows):
                parts[split or _TRAIN] = self._samples(rows, renumbered[labels])
        self._check(parts, found)
        self._check_column()
        parts = grouped(parts, self.group_by, dataset=self.dataset)
        file = printable(os.path.basename(self.root))
        origins = dict.fromkeys(parts, file)
        if len(parts) == 1:
            parts[_TRAIN], parts[_TEST] = split_flat(
                parts[_TRAIN],
                tuple(found),
                test_fraction,
                dataset=self.dataset,
                remedy="add rows, or remove those of the class",
            )
            origins[_TEST] = f"{HELD_OUT} {file}"
        stem = os.path.splitext(os.path.basename(self.root))[0]
        return Source(
            name=printable(stem) or "table",
            location=printable(self.root),
            class_names=tuple(found),
            train=parts[_TRAIN],
            validation=parts.get(_VALIDATION),
            test=parts.get(_TEST),
            bad_rows=tuple(self.bad),
            origins=origins,
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

    def _check(self, parts: Mapping[str, Samples], names: list[str]) -> None:
        """Checks that there are two classes, and all of them in each split."""
        if len(names) < 2:
            raise self._error(
                f"one class only, {names[0]!r}; classifying needs two or more"
            )
        if _TRAIN not in parts:
            raise self._error(
                f"no row of split {_TRAIN!r}; the column"
                f" {self.columns[SPLIT]!r} must have {_LEGAL_SPLITS}, or give"
                f" --columns={SPLIT}= to ignore it"
            )
        for split, samples in parts.items():
            counts = samples.counts(len(names)).tolist()
            missing = [n for n, c in zip(names, counts, strict=True) if not c]
            if missing:
                listed = ", ".join(map(repr, missing))
                raise self._error(
                    f"no {split} row of class"
                    f" {shortened(listed, _MAX_NAMES_CHARS)}; each split needs"
                    " every class: add rows, or remove those of the class"
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
