"""Names of folders as the layout of a data set sees them."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol

from trainer.config.split_names import ROOT, flag_of

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Names as `_plain` returns them: in lower case, letters and digits only.
_ROLES = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
    **dict.fromkeys(("eval", "evaluation"), TEST),
}
# Also the validation split, beside a folder with another name for the test
# split.
_EVALUATIONS = ("eval", "evaluation")
# What may follow the name of a split: training_set, test_images, TrainData.
_ENDINGS = ("set", "data", "dataset", "images", "imgs", "split", "folder")
# Circular links end here.
_MAX_DEPTH = 6


class Folder(Protocol):
    """A folder as the layout sees it; hidden and system folders are absent."""

    @property
    def name(self) -> str:
        """The name on disk."""

    @property
    def folders(self) -> Sequence[Folder]:
        """The folders directly in it, sorted by name."""

    @property
    def has_images(self) -> bool:
        """Whether an image is directly in it."""


class LayoutError(Exception):
    """The layout leaves open what is trained on; the message says what to do.

    Attributes:
      inner: path of the folder to give instead, below the one given; '' if
        the message says what to do.
    """

    def __init__(self, text: str, *, inner: str = "") -> None:
        """Creates the error."""
        super().__init__(text)
        self.inner = inner


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFolder:
    """The folders of one split.

    Attributes:
      path: the split's folder below the data set's folder; '' is that folder
        itself, and `*/NAME` a folder in each class folder.
      classes: pairs of a class folder's name and the path of its images below
        the data set's folder.
    """

    path: str
    classes: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """The splits of a folder.

    Attributes:
      splits: by name: train, then validation and test if they exist.
      unused: names of folders with images that belong to no split, because a
        flag says so.
      notes: what was decided although it might be meant otherwise.
    """

    splits: Mapping[str, SplitFolder]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def role_of(name: str) -> str | None:
    """Returns the split that a folder is named after, in any spelling.

    `Training`, `training_set` and `TRAIN-images` are train. `val`, `valid`,
    `validation` and `dev` are validation. `test`, `testing`, `tst`, `eval` and
    `evaluation` are test.
    """
    plain = _plain(name)
    for ending in ("", *_ENDINGS):
        if plain.endswith(ending):
            role = _ROLES.get(plain.removesuffix(ending))
            if role:
                return role
    return None


def holds_images(folder: Folder) -> bool:
    """Returns whether an image is in a folder or below it."""
    return _holds_images(folder, _MAX_DEPTH)


def _holds_images(folder: Folder, depth: int) -> bool:
    return folder.has_images or (
        depth > 0 and any(_holds_images(f, depth - 1) for f in folder.folders)
    )


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "", text)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.casefold())


def by_role(folders: Sequence[Folder]) -> dict[str, list[Folder]]:
    """Returns the folders that are named after a split, by split."""
    found: dict[str, list[Folder]] = {}
    for folder in folders:
        role = role_of(folder.name)
        if role:
            found.setdefault(role, []).append(folder)
    tests = found.get(TEST, [])
    evaluations = [f for f in tests if _is_evaluation(f.name)]
    if 0 < len(evaluations) < len(tests) and VALIDATION not in found:
        found[VALIDATION] = evaluations
        found[TEST] = [f for f in tests if f not in evaluations]
    return found


def _is_evaluation(name: str) -> bool:
    return _plain(name).startswith(_EVALUATIONS)


def split_folder(folder: Folder, path: str) -> SplitFolder:
    """Returns a split whose class folders are directly in its folder."""
    return SplitFolder(
        path=path,
        classes=tuple(
            (f.name, os.path.join(path, f.name)) for f in folder.folders
        ),
    )


def word_roles(name: str) -> set[str]:
    """Returns the splits that words of a name are named after."""
    return {_ROLES[word] for word in _words(name) if word in _ROLES}


def only_folder(role: str, folders: Sequence[Folder]) -> Folder:
    """Returns the one folder of a split.

    Raises:
      LayoutError: there are more.
    """
    if len(folders) == 1:
        return folders[0]
    word = "training" if role == TRAIN else role
    listed = ", ".join(f"{f.name}/" for f in folders)
    raise LayoutError(
        f"more than one {word} split: {listed}; keep one of them, or name it"
        f" with --{flag_of(role)}={folders[0].name}"
    )


def verb(folders: Sequence[Folder], one: str, many: str) -> str:
    """Returns the form of a verb for one or for many folders."""
    return one if len(folders) == 1 else many


def quoted(name: str) -> str:
    """Returns a name as a shell takes it."""
    text = printable_name(name)
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else f"'{text}'"


def printable_name(path: str) -> str:
    """Returns a name or path as text that can be encoded."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shown_folders(folders: Sequence[Folder]) -> str:
    """Returns `a/, b/ and c/`."""
    listed = [f"{printable_name(f.name)}/" for f in folders]
    if len(listed) > 5:
        listed = [*listed[:4], f"{len(listed) - 4} more"]
    *rest, last = listed or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def unused_error(
    chosen: Mapping[str, Folder], unused: list[Folder]
) -> LayoutError:
    """Returns the error about folders beside the splits.

    Args:
      chosen: the folder of each split, with that of the training split.
      unused: folders with images that belong to none of them.
    """
    used = [chosen[s] for s in (TRAIN, VALIDATION, TEST) if s in chosen]
    look = verb(used, "looks like a split", "look like splits")
    remedies = []
    # Only flags that work: a split needs class folders with images.
    if sum(map(holds_images, chosen[TRAIN].folders)) > 1:
        remedies.append(
            f"--{flag_of(TRAIN)}={quoted(chosen[TRAIN].name)} leaves"
            f" {verb(unused, 'it', 'them')} out"
        )
    testable = [f for f in unused if any(map(holds_images, f.folders))]
    if TEST not in chosen and testable:
        remedies.append(
            f"--{flag_of(TEST)}={quoted(testable[0].name)} tests on"
            f" {shown_folders(testable[:1])}"
        )
    last = f"--{flag_of(TRAIN)}={ROOT} takes each folder as a class"
    if remedies:
        last = f"{', '.join(remedies)}, and {last}"
    return LayoutError(
        f"{shown_folders(used)} {look}, and {shown_folders(unused)} beside"
        f" {verb(used, 'it', 'them')} would not be used; {last}"
    )
