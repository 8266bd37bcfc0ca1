"""Builds manifests of small folders."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from trainer.data.manifest import Manifest, build_manifest
from trainer.data.sources import open_source

_OF_SOURCE = {
    "tfds_data_dir",
    "test_fraction",
    "columns",
    "group_by",
    "split_names",
}


def build(
    dataset: str | pathlib.Path, earlier: Any = None, **changes: Any
) -> Manifest:
    """Builds a manifest; `changes` replace default options."""
    options: dict[str, Any] = {
        "tfds_data_dir": None,
        "test_fraction": 0.2,
        "data_pct": 50,
        "seed": 0,
        "batch_size": 4,
        "validation_fraction": 0.5,
        "on_bad_image": "fail",
    }
    values = {**options, **changes}
    source = open_source(
        str(dataset),
        on_bad_row=values["on_bad_image"],
        earlier=earlier,
        **{name: values.pop(name) for name in _OF_SOURCE & values.keys()},
    )
    return build_manifest(source=source, earlier=earlier, **values)


def stored(manifest: Manifest) -> dict[str, Any]:
    """Returns a manifest as manifest.json gives it back."""
    return json.loads(json.dumps(manifest.to_json(), ensure_ascii=False))
