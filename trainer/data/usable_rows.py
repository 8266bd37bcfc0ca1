"""The usable rows of a table of images, column by column."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from array import array
from collections.abc import Mapping

import numpy as np

from trainer.data.label_cells import label_set
from trainer.data.samples import BadRow, printable
from trainer.data.table_rows import TableRow
from trainer.storage import files

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# How tables write the names of the splits, in lower case. `eval` is none: some
# data sets validate on it, others test on it.
_SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(
        ("val", "valid", "validate", "validation", "dev"), VALIDATION
    ),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}
# The numbers of the splits in `UsableRows.splits`; 0 is none.
SPLITS = ("", TRAIN, VALIDATION, TEST)
LEGAL_SPLITS = "train, validation and test"
# A float32 can hold all weights and their products with those of classes.
_LOWEST, _HIGHEST = 1e-6, 1e6


class UsableRows:
    """The cells of the usable rows, by column, without repeated texts."""

    def __init__(self, by_column: bool, several: bool) -> None:
        """Creates empty columns.

        Args:
          by_column: whether to read the column of groups.
          several: whether an image may have several labels.
        """
        self._by_column = by_column
        self._several = several
        self.ids: list[str] = []
        # The path as written; the id itself where both are the same.
        self.paths: list[str] = []
        self.lines = array("q")
        self.labels = array("i")
        self.splits = array("b")
        self.groups: list[str] = []
        # With several labels, the sets of `label_cells.label_set`.
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
                return f"no split {row.split!r}; legal are {LEGAL_SPLITS}"
        label = unicodedata.normalize("NFC", printable(row.label))
        if self._several:
            label, reason = label_set(label)
            if reason:
                return reason
        weight = _weight(row.weight)
        if weight is None:
            return (
                f"no weight {row.weight!r}; legal are 0 and numbers from"
                f" {_LOWEST:g} to {_HIGHEST:g}"
            )
        sample_id = _id_of(row.path)
        self.ids.append(sample_id)
        self.paths.append(sample_id if sample_id == row.path else row.path)
        self.lines.append(row.line)
        number = self.label_names.setdefault(label, len(self.label_names))
        self.labels.append(number)
        self.splits.append(SPLITS.index(split))
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


def _repeats(table: UsableRows, first: int, row: int) -> str:
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
