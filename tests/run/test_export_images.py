"""The images on which an export is compared."""

from __future__ import annotations

import types
from typing import Any

import pytest

from trainer.run import export_images


def test_an_export_is_compared_on_images_of_all_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Samples are sorted by class; one of them has no image."""
    trained: Any = types.SimpleNamespace(
        run=None, workdir=types.SimpleNamespace(read_json=lambda name: None)
    )
    manifest = types.SimpleNamespace(final=range(70))
    monkeypatch.setattr(
        export_images, "with_data", lambda trained, given: trained
    )
    monkeypatch.setattr(export_images, "read_manifest", lambda *given: manifest)
    monkeypatch.setattr(
        export_images,
        "read_encoded_image",
        lambda _, row: None if row == 4 else row,
    )
    found = export_images.images_to_compare(trained, frozenset())
    assert found == [0, 2, *range(6, 64, 2)]
