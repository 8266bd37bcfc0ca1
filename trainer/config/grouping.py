"""The value of `--group_by`: which images form a group."""

from __future__ import annotations

import dataclasses
import re

from trainer.errors import UsageError, one_line

NONE, PARENT, COLUMN, REGEX = "none", "parent", "column", "regex"
_LEGAL = (
    "give parent, column (of a table), none, or regex:PATTERN such as"
    " regex:([^_/]+)_[^/]*$"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupRule:
    """A parsed value of `--group_by`.

    Attributes:
      text: the value.
      mode: NONE, PARENT, COLUMN or REGEX.
      pattern: the pattern of REGEX; None for the others.
    """

    text: str
    mode: str
    pattern: re.Pattern[str] | None = None


def parse_group_by(text: str | None) -> GroupRule | None:
    """Returns the rule that a value of `--group_by` names; None if unset.

    Raises:
      UsageError: it names none, or the pattern is invalid.
    """
    if text is None:
        return None
    if text in (NONE, PARENT, COLUMN):
        return GroupRule(text=text, mode=text)
    mode, colon, value = text.partition(":")
    if not colon or mode != REGEX or not value:
        raise UsageError(
            f"--group_by={text[:40]!r}: no such grouping; {_LEGAL}"
        )
    try:
        pattern = re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"--group_by={text[:60]!r}: not a valid pattern"
            f" ({one_line(str(error))}); {_LEGAL}"
        ) from error
    return GroupRule(text=text, mode=REGEX, pattern=pattern)
