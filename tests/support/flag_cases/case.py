"""A case of a flag, and the other flags that cases share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.flag_cases.commands import Ran

FINETUNE = {"stage": "finetune", "head_epochs": 1}
DRY = {"dry_run": True}
ONE_STEP = {"batch_size": 12}
ONE_ADAMW_STEP = {"optimizer": "adamw", **ONE_STEP}
# Such a rate moves no weight.
NO_MOVE = {"learning_rate": 1e-30}
IN_MEMORY = {"cache": "ram", "image_size": 192, **NO_MOVE}
FROM_SOURCE = {
    "init_from": "{root}/source",
    "optimizer": "sgd",
    "epochs": 4,
    **NO_MOVE,
}
PREDICT = {
    "stage": "predict",
    "workdir": "{root}/source",
    "inputs": "{root}/photos/test",
}
STUDY = {
    "stage": "study",
    "dataset": "{root}/photos",
    "workdir": "{root}/study",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "head_epochs": 1,
    "dry_run": True,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A flag, and the values of a view without and with the flag.

    Attributes:
      flag: its name.
      value: of the flag.
      see: the view of a command.
      without: its value without the flag. ANY if that number cannot be worked
        out by hand; then `given` must be a number that can.
      given: its value with the flag.
      also: other flags of both commands.
      alone: whether both commands are run without the flags of `BASE`.
      together: names cases with the same `also` and views that do not depend
        on each other, or whose `given` counts the others in; one command
        with all their flags serves them.
    """

    flag: str
    value: Any
    see: Callable[[Ran], Any]
    without: Any
    given: Any
    also: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alone: bool = False
    together: str = ""

    @property
    def slow(self) -> bool:
        """Whether its commands take seconds, to train or to plan a study."""
        if self.also.get("stage") in (
            "evaluate",
            "predict",
            "compare",
            "list_runs",
            "serve",
        ):
            return False
        return not self.also.get("dry_run", False) or self.flag == "models"
