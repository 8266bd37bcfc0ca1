"""Decides which folders of a data set are splits and which are classes.

Reads names only, and decides nothing that they leave open: `LayoutError` says
what was seen and which flag decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from trainer.config.split_names import EACH_CLASS, ROOT, SplitNames, flag_of
from trainer.data.layout_flags import class_first, given_layout, root_layout
from trainer.data.layout_names import (
    TEST,
    TRAIN,
    VALIDATION,
    Folder,
    Layout,
    LayoutError,
    SplitFolder,
    by_role,
    holds_images,
    only_folder,
    printable_name,
    quoted,
    role_of,
    shown_folders,
    split_folder,
    unused_error,
    verb,
    word_roles,
)
from trainer.errors import shortened

_MAX_UNNAMED_SPLITS = 3
_MIN_SHARED_NAMES = 2
_MAX_NAMES_CHARS = 120


def find_layout(root: Folder, names: SplitNames | None = None) -> Layout:
    """Returns the layout of a data set's folder.

    Args:
      root: the folder.
      names: the folders that flags name.

    Raises:
      LayoutError: names alone do not decide.
      UsageError: a flag names a folder that does not exist.
    """
    names = names or SplitNames()
    given = names.given()
    if any(value.startswith(EACH_CLASS) for value in given.values()):
        return class_first(root, names)
    if names.train == ROOT:
        return root_layout(root, names)
    if given:
        return given_layout(root, names)
    roles = by_role(root.folders)
    if roles:
        return _named_layout(root, roles)
    return _unnamed_layout(root)


def _flat(root: Folder, notes: tuple[str, ...] = ()) -> Layout:
    classes = tuple((f.name, f.name) for f in root.folders)
    return Layout(
        splits={TRAIN: SplitFolder(path="", classes=classes)}, notes=notes
    )


def _photos_only(folder: Folder) -> bool:
    return folder.has_images and not folder.folders


def _named_layout(root: Folder, roles: Mapping[str, list[Folder]]) -> Layout:
    """Returns the layout of a folder in which some folders name a split."""
    named = [f for folders in roles.values() for f in folders]
    others = [f for f in root.folders if f not in named]
    alone = TRAIN not in roles or len(named) == 1
    if alone and all(map(_photos_only, named)):
        # Photos of trains, or the class "valid" beside "invalid".
        notes = tuple(
            f"{shown_folders([f])} is a class, although it is named like a"
            " split, because it holds images and no folders"
            for f in named
            if others
        )
        return _flat(root, notes)
    if TRAIN not in roles:
        raise LayoutError(
            f"{shown_folders(named)}"
            f" {verb(named, 'looks like a split', 'look like splits')}, but no"
            " folder looks like the training split; name it with"
            f" --train_split=NAME, or give --train_split={ROOT} if each folder"
            " is a class"
        )
    chosen = {
        role: only_folder(role, folders) for role, folders in roles.items()
    }
    _check_not_wrapped(chosen[TRAIN], roles)
    unused = [f for f in others if holds_images(f)]
    if unused:
        raise unused_error(chosen, unused)
    return Layout(splits=_ordered(chosen))


def _ordered(chosen: Mapping[str, Folder]) -> dict[str, SplitFolder]:
    return {
        role: split_folder(chosen[role], chosen[role].name)
        for role in (TRAIN, VALIDATION, TEST)
        if role in chosen
    }


def _check_not_wrapped(
    train: Folder, roles: Mapping[str, list[Folder]]
) -> None:
    """Checks that the only split is not a folder of splits."""
    if len(roles) > 1:
        return
    inner = by_role(train.folders)
    if TRAIN in inner and len(inner) > 1:
        raise _wrapped_error(train, train.name)


def _unnamed_layout(root: Folder) -> Layout:
    """Returns the layout of a folder without folders named after a split."""
    tops = [f for f in root.folders if holds_images(f)]
    _check_wrapped(root, tops)
    if _is_class_first(tops):
        return class_first(root, SplitNames())
    _check_same_folders(tops)
    _check_words(tops)
    return _flat(root)


def _check_wrapped(root: Folder, tops: Sequence[Folder]) -> None:
    """Checks that the data set is not the only folder in the one given."""
    path, inner = "", tops
    while len(inner) == 1 and not inner[0].has_images:
        path = os.path.join(path, inner[0].name)
        inside = [f for f in inner[0].folders if holds_images(f)]
        if len(inside) > 1 or by_role(inside):
            if not root.has_images:
                raise _wrapped_error(inner[0], path)
            return
        inner = inside


def _wrapped_error(folder: Folder, path: str) -> LayoutError:
    inside = shown_folders([f for f in folder.folders if holds_images(f)])
    return LayoutError(
        f"holds only {printable_name(path)}/, which holds {inside}; give that"
        " folder",
        inner=path,
    )


def _is_class_first(tops: Sequence[Folder]) -> bool:
    """Returns whether each class folder holds folders of splits.

    Raises:
      LayoutError: only some do, or other images are beside them.
    """
    split = [f for f in tops if _has_splits(f)]
    if not split:
        return False
    for top in tops:
        roles = by_role(top.folders)
        rest = [
            f
            for f in top.folders
            if role_of(f.name) is None and holds_images(f)
        ]
        if top.has_images or rest or TRAIN not in roles:
            what = "holds other images too"
            if top not in split:
                what = "does not hold such folders"
            elif TRAIN not in roles:
                what = "holds no folder that looks like the training split"
            inner = _listed_roles(split[0])
            look = verb(inner, "looks like a split", "look like splits")
            raise LayoutError(
                f"{shown_folders(split[:1])} holds {shown_folders(inner)},"
                f" which {look}, but {shown_folders([top])} {what}; arrange all"
                " classes alike, or give"
                f" --{flag_of(TRAIN)}={ROOT} to use all images of a class"
                " alike"
            )
    return True


def _listed_roles(folder: Folder) -> list[Folder]:
    return [f for f in folder.folders if role_of(f.name)]


def _has_splits(folder: Folder) -> bool:
    """Returns whether a class folder holds a validation or test split.

    A folder `train` alone may be a kind of vehicle.
    """
    roles = by_role([f for f in folder.folders if role_of(f.name)])
    return any(
        holds_images(f)
        for role, folders in roles.items()
        if role != TRAIN
        for f in folders
    )


def _check_same_folders(tops: Sequence[Folder]) -> None:
    """Checks that the folders are not splits with unknown names."""
    if not 1 < len(tops) <= _MAX_UNNAMED_SPLITS or _any_images(tops):
        return
    names = [{f.name for f in top.folders} for top in tops]
    shared = set.intersection(*names)
    if len(shared) < max(_MIN_SHARED_NAMES, max(map(len, names)) / 2):
        return
    listed = shortened(", ".join(map(repr, sorted(shared))), _MAX_NAMES_CHARS)
    raise LayoutError(
        f"{shown_folders(tops)} hold the same folders, {listed}, so each may"
        f" be a split or a class; give {_example(tops)} for splits, or"
        f" --{flag_of(TRAIN)}={ROOT} for classes"
    )


def _any_images(tops: Sequence[Folder]) -> bool:
    return any(top.has_images for top in tops)


def _example(tops: Sequence[Folder]) -> str:
    """Returns flags that name two of the folders as splits."""
    likely = sorted(tops, key=lambda top: TRAIN not in word_roles(top.name))
    train = likely[0]
    test = next(
        (top for top in likely[1:] if TEST in word_roles(top.name)), likely[1]
    )
    return (
        f"--{flag_of(TRAIN)}={quoted(train.name)}"
        f" --{flag_of(TEST)}={quoted(test.name)}"
    )


def _check_words(tops: Sequence[Folder]) -> None:
    """Checks for names such as seg_train, or cats_train beside cats_test."""
    if len(tops) < 2:
        return
    named = [top for top in tops if word_roles(top.name)]
    roles = {role for top in named for role in word_roles(top.name)}
    if TRAIN not in roles or len(roles) < 2:
        return
    if _any_images(tops) and 2 * len(named) <= len(tops):
        return
    raise LayoutError(
        f"{shown_folders(named)} look like splits by a word in their names;"
        f" give {_example(named)}, or paths such as"
        f" {quoted(_inner_example(named))}, or --{flag_of(TRAIN)}={ROOT} if"
        " each folder is a class"
    )


def _inner_example(named: Sequence[Folder]) -> str:
    top = named[0]
    inner = top.folders[0].name if top.folders else "images"
    return f"{top.name}/{inner}"
