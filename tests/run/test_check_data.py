"""The comparison of the data to evaluate on with that of the run."""

from __future__ import annotations

import types
from typing import Any

import pytest

from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run import use

CHANGED, TURNED = "photos have changed since", "EXIF orientation is not applied"


@pytest.mark.parametrize(
    ("fingerprint", "given", "exif", "said"),
    [
        ("same", set(), "ignore", []),
        ("same", {"dataset"}, "ignore", []),
        ("other", set(), "ignore", [CHANGED, TURNED]),
        # A run of a version without --exif.
        ("other", set(), None, [CHANGED, TURNED]),
        ("other", set(), "apply", [CHANGED]),
        # Other data is meant.
        ("other", {"dataset"}, "ignore", [TURNED]),
    ],
)
def test_changed_data_is_warned_of_unless_other_data_is_given(
    fingerprint: str, given: set[str], exif: str | None, said: list[str]
) -> None:
    warnings: list[str] = []
    trained: Any = types.SimpleNamespace(
        run=Config(dataset="d", exif=exif),
        workdir=types.SimpleNamespace(warn=warnings.append),
        class_names=("a", "b"),
    )
    manifest: Any = types.SimpleNamespace(
        class_names=("a", "b"), fingerprint=fingerprint, turned=["x.jpg"]
    )
    stored = {"fingerprint": "same"}
    use._check_data(trained, manifest, stored, frozenset(given))
    assert len(warnings) == len(said)
    for text, words in zip(warnings, said, strict=True):
        assert words in text
    manifest.class_names = ("b", "a")
    with pytest.raises(TrainerError, match="its classes are"):
        use._check_data(trained, manifest, stored, frozenset(given))
