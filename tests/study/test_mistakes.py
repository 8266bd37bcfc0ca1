"""The most confident mistakes, from probabilities written by hand."""

from __future__ import annotations

import io
import types

import numpy as np
import pytest
from PIL import Image

from trainer.config import Config
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.study import mistakes
from trainer.study.mistakes import find_mistakes

NAMES = ("a", "b", "c")
# Label, and the probabilities of the three classes.
ROWS = (
    (0, (0.9, 0.1, 0.0)),
    (0, (0.3, 0.1, 0.6)),
    (1, (0.8, 0.1, 0.1)),
    (2, (0.1, 0.7, 0.2)),
    (1, (0.1, 0.2, 0.7)),
)


@pytest.fixture
def samples(tmp_path) -> Samples:
    """Five plain images, with brightness 10, 20, 30, 40 and 50."""
    paths = [tmp_path / f"{number}.png" for number in range(len(ROWS))]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (10 * (number + 1),) * 3).save(path)
    return Samples(
        ids=("p", "q", "r", "t", "s"),
        labels=np.array([label for label, _ in ROWS], np.int32),
        paths=tuple(map(str, paths)),
        offsets=np.zeros(len(ROWS), np.int64),
        lengths=np.full(len(ROWS), WHOLE_FILE, np.int64),
    )


@pytest.fixture(autouse=True)
def trained(samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches a run so that it predicts the probabilities above."""
    run = types.SimpleNamespace(
        run=Config(dataset="d"),
        workdir=types.SimpleNamespace(read_json=lambda name: None),
        classifier=types.SimpleNamespace(image_px=8),
        class_names=NAMES,
    )
    manifest = types.SimpleNamespace(final=samples)
    chances = np.array([row for _, row in ROWS], np.float32)
    monkeypatch.setattr(mistakes, "open_trained", lambda *given: run)
    monkeypatch.setattr(mistakes, "read_manifest", lambda *given: manifest)
    monkeypatch.setattr(mistakes, "_probabilities", lambda *given: chances)


def _find(count: int) -> list[mistakes.Mistake]:
    return find_mistakes(Config(dataset="d", workdir="w"), count)


def test_mistakes_are_in_descending_order_of_confidence() -> None:
    """Ties are in the order of ids."""
    found = _find(12)
    assert [(m.sample_id, m.true, m.predicted) for m in found] == [
        ("r", "b", "a"),
        ("s", "b", "c"),
        ("t", "c", "b"),
        ("q", "a", "c"),
    ]
    assert [round(m.probability, 6) for m in found] == [0.8, 0.7, 0.7, 0.6]


def test_each_mistake_has_its_own_image() -> None:
    brightness = []
    for mistake in _find(3):
        with Image.open(io.BytesIO(mistake.png)) as image:
            brightness.append(np.asarray(image)[0, 0, 0])
    assert brightness == [30, 50, 40]
