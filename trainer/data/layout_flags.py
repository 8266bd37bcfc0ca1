"""The layout of a data set whose splits are named by flags."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.config.split_names import (
    EACH_CLASS,
    NO_SPLIT,
    ROOT,
    SplitNames,
    flag_of,
)
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
    role_of,
    shown_folders,
    split_folder,
    unused_error,
)
from trainer.errors import UsageError


def root_layout(root: Folder, names: SplitNames) -> Layout:
    """Returns the layout in which each folder is a class, as a flag says.

    The folders that other flags name are no classes.
    """
    others = {
        split: _find(root, names, split)
        for split, value in names.given().items()
        if split != TRAIN and value != NO_SPLIT
    }
    tops = {value.split("/")[0] for value, _ in others.values()}
    classes = tuple(
        (f.name, f.name) for f in root.folders if f.name not in tops
    )
    splits = {TRAIN: SplitFolder(path="", classes=classes)}
    for split in (VALIDATION, TEST):
        if split in others:
            path, folder = others[split]
            splits[split] = split_folder(folder, path)
    return Layout(splits=splits)


def given_layout(root: Folder, names: SplitNames) -> Layout:
    """Returns the layout in which flags name one split or more."""
    given = names.given()
    found = {
        split: _find(root, names, split)
        for split, value in given.items()
        if value != NO_SPLIT
    }
    used = {path.split("/")[0] for path, _ in found.values()}
    rest = [f for f in root.folders if f.name not in used]
    detected = {
        role: folders
        for role, folders in by_role(rest).items()
        if role not in given
    }
    if TRAIN not in given and TRAIN not in detected:
        split = next(iter(given))
        raise UsageError(
            f"{names.shown(split)}: no folder looks like the training split;"
            f" give --{flag_of(TRAIN)} too; there are {shown_folders(rest)}"
        )
    for role, folders in detected.items():
        folder = only_folder(role, folders)
        found[role] = (folder.name, folder)
    _check_distinct(names, found)
    taken = {path.split("/")[0] for path, _ in found.values()}
    unused = [f for f in rest if f.name not in taken and holds_images(f)]
    deliberate = [f for f in unused if role_of(f.name) in given]
    if TRAIN not in given and len(deliberate) < len(unused):
        chosen = {role: folder for role, (_, folder) in found.items()}
        stray = [f for f in unused if f not in deliberate]
        raise unused_error(chosen, stray)
    return Layout(
        splits={
            role: split_folder(found[role][1], found[role][0])
            for role in (TRAIN, VALIDATION, TEST)
            if role in found
        },
        unused=tuple(f.name for f in unused),
    )


def _check_distinct(
    names: SplitNames, found: Mapping[str, tuple[str, Folder]]
) -> None:
    by_path: dict[str, str] = {}
    for split, (path, _) in found.items():
        for other_path, other in by_path.items():
            inside = f"{path}/".startswith(f"{other_path}/")
            if inside or f"{other_path}/".startswith(f"{path}/"):
                flagged = split if split in names.given() else other
                raise UsageError(
                    f"{names.shown(flagged)}: the {other} and the {split} split"
                    f" share images of {printable_name(path)}/; name folders"
                    " that do not overlap"
                )
        by_path[path] = split


def _find(root: Folder, names: SplitNames, split: str) -> tuple[str, Folder]:
    """Returns the path on disk and the folder that a flag names."""
    value = names.given()[split].rstrip("/")
    folder, path = root, []
    for part in value.split("/"):
        inside = {f.name: f for f in folder.folders}
        same = [n for n in inside if n.casefold() == part.casefold()]
        if part not in inside and len(same) != 1:
            there = shown_folders(list(folder.folders)) or "no folders"
            raise UsageError(
                f"{names.shown(split)}: no such folder in --dataset; there are"
                f" {there}"
            )
        name = part if part in inside else same[0]
        folder = inside[name]
        path.append(name)
    return "/".join(path), folder


def class_first(root: Folder, names: SplitNames) -> Layout:
    """Returns the layout in which each class folder holds the splits."""
    given = names.given()
    for split, value in given.items():
        if not value.startswith(EACH_CLASS) and value != NO_SPLIT:
            raise UsageError(
                f"{names.shown(split)}: not in each class folder, as another"
                f" split is; give {EACH_CLASS}{value.strip('./') or 'train'}"
            )
    rows: dict[str, list[tuple[str, str]]] = {}
    shown: dict[str, str] = {}
    unused = []
    for top in filter(holds_images, root.folders):
        chosen = _splits_of_class(top, names)
        if TRAIN not in chosen:
            raise LayoutError(
                f"{shown_folders([top])} has no folder of the training split;"
                f" add one, or name it with --{flag_of(TRAIN)}='*/NAME'"
            )
        for split, inner in chosen.items():
            path = f"{top.name}/{inner.name}"
            rows.setdefault(split, []).append((top.name, path))
            shown.setdefault(split, f"{EACH_CLASS}{inner.name}")
        used = {inner.name for inner in chosen.values()}
        unused += [
            f"{top.name}/{inner.name}"
            for inner in top.folders
            if inner.name not in used and holds_images(inner)
        ]
    splits = {
        split: SplitFolder(path=shown[split], classes=tuple(rows[split]))
        for split in (TRAIN, VALIDATION, TEST)
        if split in rows
    }
    if not splits:
        raise LayoutError("holds no class folders with images; add some")
    return Layout(splits=splits, unused=tuple(unused))


def earlier_names(root: Folder) -> SplitNames:
    """Returns the splits that earlier versions found, which knew few names."""
    known = {f.name.lower(): f.name for f in root.folders}
    train = next((f for f in root.folders if f.name.lower() == TRAIN), None)
    validation = [known[x] for x in ("val", "valid", VALIDATION) if x in known]
    if train is None or not (validation or TEST in known or train.folders):
        return SplitNames(train=ROOT)
    return SplitNames(
        train=known[TRAIN],
        validation=next(iter(validation), NO_SPLIT),
        test=known.get(TEST, NO_SPLIT),
    )


def _splits_of_class(top: Folder, names: SplitNames) -> dict[str, Folder]:
    """Returns the folders of the splits in one class folder."""
    given = names.given()
    found = {}
    for split, value in given.items():
        wanted = value.removeprefix(EACH_CLASS).rstrip("/").casefold()
        same = [f for f in top.folders if f.name.casefold() == wanted]
        if value != NO_SPLIT and same:
            found[split] = same[0]
    rest = [f for f in top.folders if f not in found.values()]
    for role, folders in by_role(rest).items():
        if role not in given:
            found[role] = only_folder(role, folders)
    return found
