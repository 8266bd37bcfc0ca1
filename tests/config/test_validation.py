"""The values of --validation, and what excludes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trainer.config import Config
from trainer.config.given import check_given, check_validation
from trainer.config.validation import (
    FOLD,
    KFOLD,
    SPLIT,
    TEST,
    TRAIN,
    fold_value,
    parse_validation,
)
from trainer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("split", {"mode": SPLIT}),
        ("test", {"mode": TEST}),
        ("train:0.1", {"mode": TRAIN, "fraction": Decimal("0.1")}),
        ("train:.5", {"mode": TRAIN, "fraction": Decimal("0.5")}),
        ("train:5e-2", {"mode": TRAIN, "fraction": Decimal("0.05")}),
        (
            "auto",
            {"mode": TRAIN, "fraction": Decimal("0.1"), "auto": True},
        ),
        ("kfold:20", {"mode": KFOLD, "folds": 20}),
        ("fold:2/5", {"mode": FOLD, "fold": 2, "folds": 5}),
    ],
)
def test_a_value_is_parsed(text: str, expected: dict[str, Any]) -> None:
    rule = parse_validation(text)
    nothing = {"fraction": Decimal(0), "fold": 0, "folds": 0, "auto": False}
    assert vars(rule) == {"text": text, **nothing, **expected}


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        *(
            (f"train:{value}", "above 0 and up to 0.5; give train:0.1")
            for value in (
                "0",
                "1",
                "x",
                "0.51",
                "-0.1",
                "nan",
                "inf",
                "1_0e-2",
                "\u0661",
            )
        ),
        ("train:", "above 0 and up to 0.5; give train:0.1"),
        *(
            (f"kfold:{value}", "folds from 2 to 20; give kfold:5")
            for value in ("1", "0", "21", "2.5", "x", "+5", "\u0665")
        ),
        ("fold:1/1", "folds from 2 to 20; give kfold:5"),
        *(
            (f"fold:{value}", "fold:N/K, .*; give fold:2/5")
            for value in ("0/5", "6/5", "2", "x/5")
        ),
        ("", "give auto, split, train:FRACTION"),
        ("train", "give auto, split, train:FRACTION"),
        ("Split", "give auto, split, train:FRACTION"),
        ("split:2", "give auto, split, train:FRACTION"),
    ],
)
def test_an_illegal_value_names_what_is_legal(text: str, legal: str) -> None:
    with pytest.raises(UsageError, match=legal) as error:
        Config(dataset="d", validation=text)
    assert str(error.value).startswith(f"--validation={text!r}: ")


@pytest.mark.parametrize("text", [None, "test"])
def test_validation_fraction_is_read(text: str | None) -> None:
    config = Config(dataset="d", validation=text)
    check_validation(config, frozenset({"validation_fraction"}))
    assert not config.honest_validation


@pytest.mark.parametrize("text", ["auto", "split", "train:0.2", "kfold:3"])
def test_validation_fraction_is_refused(text: str) -> None:
    config = Config(dataset="d", validation=text, validation_fraction=0.5)
    with pytest.raises(UsageError, match=f"not read with --validation={text}"):
        check_validation(config, frozenset({"validation_fraction"}))
    check_validation(config, frozenset({"validation"}))
    assert config.honest_validation
    assert config.runs_folds == (text == "kfold:3")


def test_a_fold_is_a_legal_value() -> None:
    assert parse_validation(fold_value(3, 4)).fold == 3


@pytest.mark.parametrize("stage", ["study", "evaluate", "predict", "export"])
def test_other_stages_do_not_read_it(stage: str) -> None:
    with pytest.raises(UsageError, match="--validation: not read by"):
        check_given(stage, frozenset({"validation"}))
