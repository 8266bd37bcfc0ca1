"""A writer of folders, for the tests of their replacement."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from trainer.storage import files, folders

WRITTEN = ("a", "record", "saved/model.pb", "z")


def fill(folder: str, text: str) -> None:
    """Writes the files of WRITTEN into a local folder."""
    for name in WRITTEN:
        path = pathlib.Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def own(folder: str) -> folders.Own:
    """Accepts all of WRITTEN if the folder has a record, otherwise nothing."""
    there = files.is_file(f"{folder}/record")
    return lambda name: there and name in (*WRITTEN, "saved/")


def replace(
    folder: str, text: str, meanwhile: Callable[[], object] = str
) -> None:
    """Replaces a folder; `meanwhile` is called when the new one is filled."""
    with folders.replaced_folder(folder, own=own, last=("record",)) as new:
        fill(new, text)
        meanwhile()


def content(folder: str) -> dict[str, str]:
    """Returns the files below a folder and their text."""
    return {
        name: files.read_text(f"{folder}/{name}")
        for name in folders.files_below(folder)
    }


def all_of(text: str) -> dict[str, str]:
    """Returns the content of a folder that was filled with a text."""
    return dict.fromkeys(WRITTEN, text)


def fail() -> None:
    """Raises the error that the tests expect."""
    raise ZeroDivisionError
