"""The folders that --train_split, --val_split and --test_split name."""

from __future__ import annotations

import dataclasses

from trainer.errors import UsageError

# The value of --val_split and --test_split for no such split.
NO_SPLIT = "none"
# The value of --train_split if each folder is a class.
ROOT = "."
# The prefix of a folder inside each class folder.
EACH_CLASS = "*/"
SPLIT_FLAGS = {
    "train": "train_split",
    "validation": "val_split",
    "test": "test_split",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitNames:
    """The folder of each split as given; None finds it by its name.

    A value is a path below the data set's folder, or `*/NAME` for a folder
    NAME inside each class folder.

    Attributes:
      train: also `ROOT`, if each folder of the data set is a class.
      validation: also `NO_SPLIT`.
      test: also `NO_SPLIT`.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None

    def given(self) -> dict[str, str]:
        """Returns the given values by split."""
        values = dataclasses.asdict(self)
        return {split: x for split, x in values.items() if x is not None}

    def shown(self, split: str) -> str:
        """Returns the flag of a split and its value, to begin an error."""
        return f"--{flag_of(split)}={getattr(self, split)!r}"


def flag_of(split: str) -> str:
    """Returns the name of the flag that names the folder of a split."""
    return SPLIT_FLAGS[split]


def check_split_name(split: str, value: str) -> None:
    """Checks the form of a value; reads no folder.

    Raises:
      UsageError: the value cannot name a folder of the data set.
    """
    path = value.removeprefix(EACH_CLASS)
    parts = path.rstrip("/").split("/")
    lacks_name = "" in parts or ".." in parts
    if value == ROOT and split == "train":
        return
    if lacks_name or "." in parts or "*" in path:
        others = ", or . if each folder is a class"
        if split != "train":
            others = f", or {NO_SPLIT}"
        raise UsageError(
            f"--{flag_of(split)}={value!r}: not a folder of the data set; give"
            " its path below --dataset, such as holdout, or */holdout for a"
            f" folder in each class folder{others}"
        )
