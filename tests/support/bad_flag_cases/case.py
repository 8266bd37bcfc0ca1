"""A case of a refused command, and what the cases share."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from tests.support.command import arguments

USAGE, FAILURE = 2, 1
BASE: Mapping[str, Any] = {
    "stage": "feature_extract",
    "dataset": "{root}/photos",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
}
FINETUNE = {"stage": "finetune"}
TWO_REPLICAS = {"strategy": "mirrored", "logical_cpus": 2}
FIX = "fix or remove it, or --on_bad_image=skip trains on the rest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Flags that are refused.

    Attributes:
      name: of the case.
      flags: besides `BASE`; None removes one of them.
      status: the exit status.
      words: parts of the one line on standard error.
    """

    name: str
    flags: Mapping[str, Any]
    status: int
    words: tuple[str, ...]


def evaluating(workdir: str | None, **flags: Any) -> dict[str, Any]:
    """Returns the flags of an evaluation, which needs none of `BASE`."""
    nothing = dict.fromkeys(BASE)
    return {**nothing, "stage": "evaluate", "workdir": workdir, **flags}


def filled(root: pathlib.Path, values: Mapping[str, Any]) -> list[str]:
    """Returns the arguments, `{root}` filled in and None left out."""
    return arguments(
        {
            name: str(value).format(root=root)
            for name, value in values.items()
            if value is not None
        }
    )


def assert_one_line(text: str, words: tuple[str, ...]) -> None:
    """Checks that standard error is one line with all of the words."""
    assert text.startswith("error: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    for word in words:
        assert word in text
