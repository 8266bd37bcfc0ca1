"""The values of --columns, --group_by and --shots."""

from __future__ import annotations

import pytest

from trainer.config import Config
from trainer.config.grouping import parse_group_by
from trainer.config.table_columns import parse_columns
from trainer.errors import UsageError

DEFAULT = {name: name for name in ("path", "label", "split", "group", "weight")}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (None, {}),
        ("path=file", {"path": "file"}),
        (" label = my class ,split=", {"label": "my class", "split": ""}),
        ("group=a=b", {"group": "a=b"}),
        # A column that is read as another one is not read as itself.
        ("group=weight", {"group": "weight", "weight": ""}),
        ("path=label,label=path", {"path": "label", "label": "path"}),
    ],
)
def test_columns_are_renamed(text: str | None, changes: dict[str, str]) -> None:
    assert parse_columns(text) == {**DEFAULT, **changes}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not such a pair; give COLUMN=NAME pairs"),
        ("file", "'file' is not such a pair"),
        ("image=file", "'image=file' is not such a pair"),
        ("path=a,path=b", "names 'path' twice; give each once"),
        ("path=", "'path' has no name"),
        ("path=a,label=a", "reads 'a' as 'path' and 'label'"),
        ("path=label", "'label' is read as 'path'; name the column of"),
    ],
)
def test_illegal_columns_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        Config(dataset="a.csv", columns=text)
    assert str(error.value).startswith(f"--columns={text!r}: ")
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["none", "parent", "column"])
def test_groupings_are_known(text: str) -> None:
    rule = parse_group_by(text)
    assert rule is not None
    assert (rule.mode, rule.pattern) == (text, None)


def test_a_pattern_may_have_colons() -> None:
    rule = parse_group_by("regex:(?:a|b):(.)")
    assert rule is not None
    assert rule.pattern is not None
    assert rule.pattern.pattern == "(?:a|b):(.)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder", "no such grouping; give parent, column (of a table)"),
        ("regex:", "no such grouping"),
        ("regex", "no such grouping"),
        ("regex:(", "not a valid pattern (missing ), unterminated"),
    ],
)
def test_illegal_groupings_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        Config(group_by=text)
    assert str(error.value).startswith(f"--group_by={text!r}: ")
    assert words in str(error.value)


def test_shots_replace_the_percentage() -> None:
    assert Config(shots=5).shots == 5
    with pytest.raises(UsageError, match="--shots=5: not possible with"):
        Config(shots=5, data_pct=10.0)
    with pytest.raises(UsageError, match="--shots=0: must be a whole number"):
        Config(shots=0)
