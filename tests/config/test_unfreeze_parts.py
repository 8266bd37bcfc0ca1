"""Tests of --unfreeze=RULE@EPOCHS,...: how a value is split into parts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trainer.config import Config
from trainer.config.given import check_parts
from trainer.config.unfreeze import UnfreezePart, parse_parts, parse_unfreeze
from trainer.errors import UsageError
from trainer.run.resolve import default_workdir, resolve

GROWING = "none@5,last:10@5,all@10"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(
            GROWING, [("none", 5), ("last:10", 5), ("all", 10)], id="three"
        ),
        pytest.param("all@5", [("all", 5)], id="one"),
        pytest.param("last:10", [], id="a rule without epochs"),
        pytest.param("regex:a,b", [], id="a comma without epochs"),
        pytest.param("regex:a[@]b", [], id="an @ in brackets, without epochs"),
        pytest.param("regex:a,last:3", [], id="no epochs anywhere"),
        pytest.param(
            "from:block7a@2,all@3", [("from:block7a", 2), ("all", 3)], id="from"
        ),
        pytest.param(
            "regex:conv[1,2]@5", [("regex:conv[1,2]", 5)], id="a comma"
        ),
        pytest.param(
            "regex:a{1,2},b|c@5,all@1",
            [("regex:a{1,2},b|c", 5), ("all", 1)],
            id="commas, and a part after them",
        ),
        pytest.param(
            "none@1,regex:a,allow@2",
            [("none", 1), ("regex:a,allow", 2)],
            id="a comma before a word that begins like a rule",
        ),
        pytest.param(
            "regex:a[@]5,b@7",
            [("regex:a[@]5,b", 7)],
            id="an @ in brackets, and a comma",
        ),
        pytest.param(
            "regex:a[,]last:3@5", [("regex:a[,]last:3", 5)], id="a quoted comma"
        ),
        pytest.param(
            "regex:.*@3,regex:.*@4",
            [("regex:.*", 3), ("regex:.*", 4)],
            id="two patterns",
        ),
        pytest.param(
            "none@1000000", [("none", 10**6)], id="as many as --epochs"
        ),
    ],
)
def test_a_value_is_split_into_parts(text, parts):
    assert parse_parts(text) == tuple(
        UnfreezePart(rule=rule, epochs=epochs) for rule, epochs in parts
    )


FORM = "give RULE@EPOCHS for each part, such as none@5,all@10"
LEGAL = "give a whole number from 1 to 1000000 after the @, such as"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none@0", f"'none@0': part 1 has '0' epochs; {LEGAL} none@5"),
        ("none@-1", f"'none@-1': part 1 has '-1' epochs; {LEGAL} none@5"),
        ("none@x", f"'none@x': part 1 has 'x' epochs; {LEGAL} none@5"),
        ("none@", f"'none@': part 1 has '' epochs; {LEGAL} none@5"),
        ("all@1.5", f"'all@1.5': part 1 has '1.5' epochs; {LEGAL} all@5"),
        ("all@٣", f"'all@٣': part 1 has '٣' epochs; {LEGAL} all@5"),
        (
            "none@1,all@1000001",
            f"'none@1,all@1000001': part 2 has '1000001' epochs; {LEGAL} all@5",
        ),
        (
            "none@1000000,all@1",
            "'none@1000000,all@1': 1000001 epochs in all; give at most 1000000",
        ),
        ("@5", f"'@5': part 1 is empty; {FORM}"),
        ("none@5,", f"'none@5,': part 2 is empty; {FORM}"),
        (",none@5", f"',none@5': part 1 is empty; {FORM}"),
        ("none@5,,all@5", f"'none@5,,all@5': part 2 is empty; {FORM}"),
        ("none,all@5", f"'none,all@5': part 1, 'none', has no epochs; {FORM}"),
        ("none@5,all", f"'none@5,all': part 2, 'all', has no epochs; {FORM}"),
        (
            "regex:a,last:3@5",
            "'regex:a,last:3@5': part 1 is ambiguous: ',last:' may start"
            " a new part or belong to the argument of regex; give"
            " regex:a@EPOCHS to start a new part, or write the comma as [,] in"
            " a regex",
        ),
        (
            "none@1,regex:a,all@5",
            "'none@1,regex:a,all@5': part 2 is ambiguous: ',all' may start"
            " a new part or belong to the argument of regex; give"
            " regex:a@EPOCHS to start a new part, or write the comma as [,] in"
            " a regex",
        ),
        (
            "regex:a@b",
            f"'regex:a@b': part 1 has 'b' epochs; {LEGAL} regex:a@5; write [@]"
            " for an @ in a regex",
        ),
        ("none@5,foo@3", "'foo' (part 2): cannot be parsed; legal forms are"),
        ("none@5, all@3", "' all' (part 2): cannot be parsed; legal forms are"),
        ("none@5@6", "'none@5': cannot be parsed; legal forms are"),
        ("regex:a@5,b@3", "'b' (part 2): cannot be parsed; legal forms are"),
        ("none@5,last:0@3", "'last:0' (part 2): last:N takes a whole number"),
        ("regex:(@5,all@1", "'regex:(' (part 1): not a regular expression"),
    ],
)
def test_an_invalid_value_is_rejected(text, message):
    with pytest.raises(UsageError) as error:
        Config(dataset="d", unfreeze=text)
    assert str(error.value).startswith(f"--unfreeze={message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("last:7", "'last:7' (part 2): the backbone has 1 layers; give"),
        ("from:b", "'from:b' (part 2): the backbone has no layer 'b'"),
        ("regex:b", "'regex:b' (part 2): matches none of the 1 layer names"),
    ],
)
def test_a_part_that_matches_nothing_is_named(rule, message):
    with pytest.raises(UsageError, match=re.escape(f"--unfreeze={message}")):
        parse_unfreeze(rule, 2).choose(["a"])


def config(unfreeze: str, **values: Any) -> Config:
    return Config(dataset="d", unfreeze=unfreeze, **values)


def test_parts_are_stages_after_the_head():
    run = resolve(config(GROWING, head_epochs=2), 32)
    assert [
        (s.stage, s.part, s.unfreeze, s.epochs, s.learning_rate)
        for s in run.stages()
    ] == [
        ("feature_extract", 0, "none", 2, 1e-3),
        ("finetune-1", 1, "none", 5, 1e-4),
        ("finetune-2", 2, "last:10", 5, 1e-4),
        ("finetune-3", 3, "all", 10, 1e-4),
    ]
    assert run.own_stages() == run.stages()[1:]
    assert (run.epochs, run.last_stage, run.last_epochs) == (
        20,
        "finetune-3",
        10,
    )


def test_one_part_is_the_run_of_its_rule_and_epochs():
    one = resolve(config("all@7"), 32)
    assert one == resolve(config("all", epochs=7), 32)
    assert [s.stage for s in one.own_stages()] == ["finetune"]
    assert one.own_stages()[0].part == 0


def test_resolving_and_storing_keep_the_parts():
    run = resolve(config(GROWING), 32)
    assert resolve(run, 32) == run
    again = Config.from_json(run.to_json())
    assert again.finetune_parts == run.finetune_parts
    assert list(again.finetune_parts) == [f"finetune-{n}" for n in (1, 2, 3)]


def test_other_parts_have_another_default_workdir():
    names = {
        default_workdir(resolve(config(value), 32))
        for value in (GROWING, "all", "all@20", "none@5,last:10@5,all@11")
    }
    assert len(names) == 4


@pytest.mark.parametrize("value", ["all@5", GROWING])
def test_epochs_and_parts_exclude_each_other(value):
    asked = config(value, epochs=7)
    with pytest.raises(UsageError) as error:
        check_parts(asked, frozenset({"epochs", "unfreeze"}))
    assert str(error.value) == (
        f"--epochs=7: not read with --unfreeze={value!r}, which sets the epochs"
        " of each part; leave it out"
    )
    check_parts(asked, frozenset({"unfreeze"}))
    check_parts(config("all", epochs=7), frozenset({"epochs", "unfreeze"}))


@pytest.mark.parametrize("value", ["all@5", GROWING])
@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        ("study", ", and --epochs"),
        ("search", ", and --epochs"),
        ("lr_find", ""),
    ],
)
def test_these_stages_have_no_parts(value, stage, remedy):
    with pytest.raises(UsageError) as error:
        config(value, stage=stage)
    assert str(error.value) == (
        f"--unfreeze={value!r}: --stage={stage} cannot fine-tune in parts;"
        f" give one rule without @{remedy}"
    )
