"""The flags of a run as keyword arguments."""

from __future__ import annotations

import os
from typing import Any

from trainer.config import checked, type_name, usage
from trainer.config.fields import FIELDS
from trainer.errors import UsageError


class Config:
    """The flags of a run, by name and without dashes.

    They have the meaning and the defaults of the command line:
    `Config(dataset="photos", recipe="best")` is
    `--stage=finetune --dataset=photos --recipe=best`.

    Attributes:
      values: the checked configuration, with the defaults of the recipe.
      given: the names of the flags that were given.
    """

    def __init__(self, **flags: Any) -> None:
        """Checks the flags; a flag that is None counts as not given.

        Args:
          **flags: see `transfer-trainer --help`; paths may be `pathlib.Path`.

        Raises:
          UsageError: there is no such flag, or a value is illegal.
        """
        values = {name: field.default for name, field in FIELDS.items()}
        for name, value in flags.items():
            if value is not None:
                values[name] = _typed(name, value)
        self.given = frozenset(n for n, v in flags.items() if v is not None)
        self.values = checked(values, self.given)

    def __repr__(self) -> str:
        shown = (f"{n}={getattr(self.values, n)!r}" for n in sorted(self.given))
        return f"Config({', '.join(shown)})"


def _typed(name: str, value: Any) -> Any:
    """Returns the value with the type of the flag.

    Raises:
      UsageError: there is no such flag, or the value has another type.
    """
    if name not in FIELDS:
        hint = usage.hint_for(name)
        raise UsageError(
            f"{name}: no such flag; {hint}{'; ' if hint else ''}"
            "transfer-trainer --help lists the flags"
        )
    kind = type_name(name)
    if kind == "str" and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != kind:
        raise UsageError(
            f"{name}={value!r}: not {kind}; give a value of that type"
        )
    return value
