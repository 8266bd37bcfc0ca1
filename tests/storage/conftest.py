"""Fixtures of the storage tests."""

from __future__ import annotations

import pathlib

import pytest

from tests.storage.places import PLACES, open_place
from trainer.storage import files


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, str]:
    """Returns the name of a place, and a folder there with four files."""
    root = open_place(request.param, tmp_path, monkeypatch)
    # `ram://` lists only folders that were created.
    files.make_dirs(f"{root}/пицца/deep")
    for name in ("one.txt", "пицца/two.JPG", "пицца/deep/three.jpg", ".hidden"):
        files.write_text(f"{root}/{name}", name)
    return request.param, root
