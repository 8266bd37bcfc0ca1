"""The value of `--validation`: what each epoch is validated on."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal

from trainer.errors import UsageError

SPLIT, TEST, TRAIN = "split", "test", "train"
FOLD, KFOLD = "fold", "kfold"
_AUTO = "auto"
_AUTO_FRACTION = Decimal("0.1")
_MAX_FRACTION = Decimal("0.5")
_MAX_FOLDS = 20
# int() and Decimal() would accept spaces, underscores and other digits.
_WHOLE = re.compile("[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{0,9}\.?[0-9]{1,30}(e-?[0-9]{1,2})?")
_LEGAL = (
    "give auto, split, train:FRACTION such as train:0.1, kfold:K such as"
    " kfold:5, or test"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationRule:
    """A parsed value of `--validation`.

    Attributes:
      text: the value.
      mode: SPLIT, TEST, TRAIN, FOLD or KFOLD.
      fraction: of the training subset, in (0, 0.5]; 0 unless it is held out.
      fold: number of the fold to validate on, from 1; 0 without folds.
      folds: number of folds; 0 without folds.
      auto: whether the validation split is used instead if there is one.
    """

    text: str
    mode: str
    fraction: Decimal = Decimal(0)
    fold: int = 0
    folds: int = 0
    auto: bool = False


def parse_validation(text: str) -> ValidationRule:
    """Returns the rule that a value of `--validation` names.

    Raises:
      UsageError: it names none, or a number is outside its range.
    """
    if text == _AUTO:
        return ValidationRule(
            text=text, mode=TRAIN, fraction=_AUTO_FRACTION, auto=True
        )
    if text in (SPLIT, TEST):
        return ValidationRule(text=text, mode=text)
    mode, colon, value = text.partition(":")
    if colon and mode == TRAIN:
        return ValidationRule(
            text=text, mode=TRAIN, fraction=_fraction(text, value)
        )
    if colon and mode == KFOLD:
        return ValidationRule(text=text, mode=KFOLD, folds=_folds(text, value))
    if colon and mode == FOLD:
        return _fold(text, value)
    raise _illegal(text, f"no such validation; {_LEGAL}")


def fold_value(fold: int, folds: int) -> str:
    """Returns the value of `--validation` for one fold, numbered from 1."""
    return f"{FOLD}:{fold}/{folds}"


def _fraction(text: str, value: str) -> Decimal:
    found = Decimal(value) if _NUMBER.fullmatch(value) else Decimal(0)
    if not 0 < found <= _MAX_FRACTION:
        raise _illegal(
            text,
            f"must be a fraction above 0 and up to {_MAX_FRACTION}; give"
            " train:0.1, for example",
        )
    return found


def _folds(text: str, value: str) -> int:
    found = int(value) if _WHOLE.fullmatch(value) else 0
    if not 2 <= found <= _MAX_FOLDS:
        raise _illegal(
            text,
            f"must be a number of folds from 2 to {_MAX_FOLDS}; give"
            f" {KFOLD}:5, for example",
        )
    return found


def _fold(text: str, value: str) -> ValidationRule:
    number, slash, count = value.partition("/")
    folds = _folds(text, count) if slash else 0
    fold = int(number) if _WHOLE.fullmatch(number) else 0
    if not 1 <= fold <= folds:
        raise _illegal(
            text,
            "must be fold:N/K, the number of a fold, from 1, and the number of"
            f" folds; give {FOLD}:2/5, for example",
        )
    return ValidationRule(text=text, mode=FOLD, fold=fold, folds=folds)


def _illegal(text: str, what: str) -> UsageError:
    return UsageError(f"--validation={text[:40]!r}: {what}")
