"""Reads the rows of a table of images: CSV, TSV or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.config.table_columns import COLUMNS, LABEL, NEEDED, PATH
from trainer.data.samples import SEPARATOR, BadRow
from trainer.errors import TrainerError, reason_of, shortened
from trainer.storage import files

# A longer line, or a longer quoted cell, is not part of a table of images. The
# limits also bound the memory.
_MAX_LINE_CHARS = 1 << 20
_MAX_CELL_CHARS = 1 << 17
_MAX_NAMES_CHARS = 200
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", ",": "commas"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table: the text of each column, "" where there is none.

    Attributes:
      line: number of its first line in the file, from 1.
      path: path of the image as written.
      label: name of its class.
      split: its split as written.
      group: name of its group.
      weight: its weight as written.
    """

    line: int
    path: str
    label: str
    split: str
    group: str
    weight: str


def read_rows(
    path: str,
    names: Mapping[str, str],
    *,
    dataset: str,
    several: bool = False,
) -> Iterator[TableRow | BadRow]:
    """Yields the rows of a table in the order of the file.

    Reads UTF-8 with or without a byte order mark, and lines that end with LF,
    CRLF or CR. Quoted cells of CSV and TSV may contain line ends. Blank lines
    are skipped. The memory used does not depend on the size of the file.

    Args:
      path: the file; its suffix, .csv, .tsv or .jsonl, decides the format.
      names: the name of each column; see `table_columns.parse_columns`.
      dataset: the name that the user gave, for errors.
      several: whether an image may have any number of labels. Then a label may
        be empty, and in JSON lines it may be a list of labels.

    Yields:
      The cells of a row without spaces around them, or what is wrong with it.

    Raises:
      TrainerError: the file cannot be read, has no header with the needed
        columns, or is no table of this format.
    """
    table = _Table(path, names, dataset, several)
    with table.opened() as lines:
        if os.path.splitext(path)[1].lower() == ".jsonl":
            yield from table.json_rows(lines)
        else:
            yield from table.cell_rows(lines)


class _Table:
    """A table file, the names of its columns and the name of the data set."""

    def __init__(
        self,
        path: str,
        names: Mapping[str, str],
        dataset: str,
        several: bool,
    ) -> None:
        """Creates the table; see `read_rows` for the arguments."""
        self._path = path
        self._names = names
        self._dataset = dataset
        self._several = several
        # The columns that no cell may leave empty.
        self._needed = (PATH,) if several else NEEDED

    @contextlib.contextmanager
    def opened(self) -> Iterator[Iterator[str]]:
        """Opens the file; gives its lines with their ends."""
        try:
            with files.open_regular(files.fetched(self._path)) as stream:
                if stream.read(2) in _UTF16:
                    raise self._error("is UTF-16; save it as UTF-8")
                stream.seek(0)
                text = io.TextIOWrapper(
                    stream,
                    encoding="utf-8-sig",
                    # A byte that is not UTF-8 makes one bad row, not an error.
                    errors="surrogateescape",
                    newline="",
                )
                yield self._lines(text)
        except OSError as error:
            raise self._error(
                f"cannot be read ({reason_of(error)}); give a file that can be"
                " read"
            ) from error

    def _error(self, text: str) -> TrainerError:
        return TrainerError(f"--dataset={self._dataset!r}: {text}")

    def _lines(self, text: io.TextIOWrapper) -> Iterator[str]:
        number = 0
        while line := text.readline(_MAX_LINE_CHARS + 1):
            number += 1
            if len(line) > _MAX_LINE_CHARS:
                raise self._error(
                    f"line {number} is longer than {_MAX_LINE_CHARS}"
                    " characters; give a table with one row per image"
                )
            yield line

    def json_rows(self, lines: Iterator[str]) -> Iterator[TableRow | BadRow]:
        """Yields the rows of JSON lines."""
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield self._json_row(number, line)

    def _json_row(self, number: int, line: str) -> TableRow | BadRow:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            return BadRow(line=number, reason=f"no JSON ({reason_of(error)})")
        if not isinstance(values, dict):
            return BadRow(line=number, reason="no JSON object")
        cells: dict[str, str] = {}
        for column in COLUMNS:
            name = self._names[column]
            value = values.get(name) if name else None
            if self._several and column == LABEL and isinstance(value, list):
                value, reason = _joined_labels(value)
                if reason:
                    return BadRow(line=number, reason=reason)
            text = _json_text(value)
            if text is None:
                return BadRow(
                    line=number,
                    reason=f"{name!r} is neither a text nor a number",
                )
            cells[column] = text
        return _row(number, cells, self._names, self._needed)

    def cell_rows(self, lines: Iterator[str]) -> Iterator[TableRow | BadRow]:
        """Yields the rows of CSV or TSV."""
        suffix = os.path.splitext(self._path)[1].lower()
        delimiter = _DELIMITERS[suffix]
        limit = csv.field_size_limit(_MAX_CELL_CHARS)
        try:
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            header = self._header(reader, delimiter)
            width = len(header)
            places = {
                column: header.index(name)
                for column, name in self._names.items()
                if name and name in header
            }
            for number, cells in self._records(reader):
                if isinstance(cells, BadRow):
                    yield cells
                elif len(cells) != width:
                    yield BadRow(
                        line=number,
                        reason=f"{len(cells)} cells, but {width} columns",
                    )
                else:
                    found = {c: cells[place] for c, place in places.items()}
                    yield _row(number, found, self._names, self._needed)
        finally:
            csv.field_size_limit(limit)

    def _header(self, reader: Any, delimiter: str) -> list[str]:
        """Returns the names of the columns, from the first line."""
        header: list[str] = []
        for _, cells in self._records(reader):
            if isinstance(cells, BadRow):
                raise self._error(f"{cells}; fix the header")
            header = [cell.strip() for cell in cells]
            break
        if not header:
            raise self._error(
                "is empty; give a table with a header and one row per image"
            )
        missing = [n for c, n in self._names.items() if c in NEEDED]
        missing = [name for name in missing if name not in header]
        if missing and len(header) == 1:
            for other, word in _OTHER_DELIMITERS.items():
                if other != delimiter and other in header[0]:
                    raise self._error(
                        f"its cells are separated by {word}, not by"
                        f" {_OTHER_DELIMITERS[delimiter]}; save it with"
                        f" {_OTHER_DELIMITERS[delimiter]}"
                    )
        if missing:
            raise self._error(
                f"no column {' and no column '.join(map(repr, missing))} among"
                f" {_listed(header)}; the first line must name the columns;"
                " other names are given as --columns=path=NAME,label=NAME"
            )
        twice = [n for n in self._names.values() if n and header.count(n) > 1]
        if twice:
            raise self._error(
                f"two columns {twice[0]!r}; rename one of them in the file"
            )
        lacking = [
            name
            for column, name in self._names.items()
            if name and name != column and name not in header
        ]
        if lacking:
            raise self._error(
                f"no column {lacking[0]!r}, which --columns names, among"
                f" {_listed(header)}"
            )
        return header

    def _records(self, reader: Any) -> Iterator[tuple[int, Any]]:
        """Yields the first line and the cells, or a `BadRow`, of each row."""
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                text = str(error)
                if "end of data" in text or "field limit" in text:
                    # All that follows has become a part of this cell.
                    raise self._error(
                        f"line {number}: a quoted cell does not end (or has"
                        f" more than {_MAX_CELL_CHARS} characters); close it"
                        ' with a ", and write " within a cell as ""'
                    ) from error
                cells = BadRow(line=number, reason=f"quoted wrongly ({text})")
            if cells:
                yield number, cells


def _json_text(value: Any) -> str | None:
    """Returns a value as text; None if it can be no cell."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _joined_labels(values: list[Any]) -> tuple[str, str]:
    """Returns a list of labels as one cell, and what is wrong with it."""
    labels = [_json_text(value) for value in values]
    for label in labels:
        if label is None:
            return "", "a label is neither a text nor a number"
        if not label.strip() or SEPARATOR in label:
            return "", f"a label {shortened(repr(label))}"
    return SEPARATOR.join(label for label in labels if label), ""


def _row(
    number: int,
    cells: Mapping[str, str],
    names: Mapping[str, str],
    needed: Sequence[str],
) -> TableRow | BadRow:
    """Returns a row, or what is wrong with its cells."""
    found = {column: cells.get(column, "").strip() for column in COLUMNS}
    for column, text in found.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            return BadRow(
                line=number,
                reason=f"{names[column]!r} is not UTF-8; save the file as"
                " UTF-8",
            )
        if "\0" in text:
            return BadRow(line=number, reason=f"{names[column]!r} has a NUL")
    for column in needed:
        if not found[column]:
            return BadRow(line=number, reason=f"no {names[column]!r}")
    return TableRow(line=number, **found)


def _listed(header: list[str]) -> str:
    return shortened(", ".join(map(repr, header)), _MAX_NAMES_CHARS)
