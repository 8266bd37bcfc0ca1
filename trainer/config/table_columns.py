"""The value of `--columns`: names of the columns of a table of images."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainer.errors import UsageError

PATH, LABEL, SPLIT, GROUP, WEIGHT = "path", "label", "split", "group", "weight"
NEEDED = (PATH, LABEL)
COLUMNS = (*NEEDED, SPLIT, GROUP, WEIGHT)
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_LEGAL = (
    "give COLUMN=NAME pairs separated by commas, such as"
    f" path=file,label=species; the columns are {', '.join(COLUMNS)}"
)


def is_table(dataset: str) -> bool:
    """Returns whether a value of `--dataset` names a table by its suffix."""
    return os.path.splitext(dataset)[1].lower() in TABLE_SUFFIXES


def parse_columns(text: str | None) -> Mapping[str, str]:
    """Returns the name that each of `COLUMNS` has in the table.

    Args:
      text: the value of `--columns`; None if it is unset.

    Returns:
      Column -> name. A column that is not given has its own name. The name of
      an optional column that is not to be read is "".

    Raises:
      UsageError: a pair is malformed, or a column or a name occurs twice.
    """
    names = {column: column for column in COLUMNS}
    given: dict[str, str] = {}
    for pair in [] if text is None else text.split(","):
        column, equals, name = (part.strip() for part in pair.partition("="))
        if column not in COLUMNS or not equals:
            raise _illegal(text, f"{pair[:40]!r} is not such a pair; {_LEGAL}")
        if column in given:
            raise _illegal(text, f"names {column!r} twice; give each once")
        if not name and column in NEEDED:
            raise _illegal(text, f"{column!r} has no name; {_LEGAL}")
        given[column] = name
    names.update(given)
    for column, name in given.items():
        others = [
            other
            for other in given
            if other != column and name and given[other] == name
        ]
        if others:
            raise _illegal(
                text,
                f"reads {name!r} as {column!r} and {others[0]!r}; give each"
                " column one name",
            )
        # A column named by hand is not also read under its own name.
        if name in COLUMNS and name != column and name not in given:
            if name in NEEDED:
                raise _illegal(
                    text,
                    f"{name!r} is read as {column!r}; name the column of"
                    f" {name!r} too",
                )
            names[name] = ""
    return names


def _illegal(text: str | None, what: str) -> UsageError:
    return UsageError(f"--columns={(text or '')[:60]!r}: {what}")
