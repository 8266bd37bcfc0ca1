"""The comparison of the data to evaluate on with that of the run."""

from __future__ import annotations

import types
from typing import Any

import pytest

from trainer.errors import TrainerError
from trainer.run import use

CHANGED, TURNED = "photos have changed since", "stored on their side"


@pytest.mark.parametrize(
    ("fingerprint", "given", "said"),
    [
        ("same", set(), []),
        ("same", {"dataset"}, []),
        ("other", set(), [CHANGED, TURNED]),
        # Other data is meant.
        ("other", {"dataset"}, [TURNED]),
    ],
)
def test_changed_data_is_warned_of_unless_other_data_is_given(
    fingerprint: str, given: set[str], said: list[str]
) -> None:
    warnings: list[str] = []
    trained: Any = types.SimpleNamespace(
        run=types.SimpleNamespace(dataset="d"),
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
