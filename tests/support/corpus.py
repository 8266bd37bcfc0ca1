"""Unusual and malformed images, and the expected result for each."""

from __future__ import annotations

import pathlib

from tests.support.bad_images import BAD
from tests.support.good_images import GOOD, PX, Good

__all__ = ["BAD", "GOOD", "PX", "put", "put_all"]


def put(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Writes one file of the corpus into a folder; returns its path."""
    case = GOOD.get(name) or BAD[name]
    path = folder / name
    content = case.encoded if isinstance(case, Good) else case.put
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def put_all(folder: pathlib.Path) -> None:
    """Writes the corpus into a new folder, and an empty folder a.jpg."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").mkdir()
    for name in (*GOOD, *BAD):
        put(folder, name)
