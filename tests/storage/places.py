"""The places that storage is tested in: local, `ram://` and a bucket."""

from __future__ import annotations

import pathlib
import uuid

import pytest

from tests.support.bucket import Bucket
from trainer.storage import files, remote

PLACES = ("local", "ram", "bucket")


def open_place(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Returns the path of an empty folder in a place."""
    root = {
        "local": str(tmp_path),
        "ram": f"ram://{uuid.uuid4().hex}",
        "bucket": "gs://bucket/a folder",
    }[name]
    if name == "bucket":
        bucket = Bucket()
        monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    files.make_dirs(root)
    return root
