"""The examples of a report, from predictions written by hand."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.support.classifiers import TINY_PX, tiny_classifier
from trainer.data.rendering import PLAIN
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.run.examples import ExampleReader, Predicted

NAMES = ("a", "b", "c")
# Id, label, and the probabilities of the three classes.
ROWS = (
    ("p", 0, (0.9, 0.1, 0.0)),
    ("q", 0, (0.3, 0.1, 0.6)),
    ("r", 1, (0.8, 0.1, 0.1)),
    ("t", 2, (0.1, 0.7, 0.2)),
    ("s", 1, (0.1, 0.2, 0.7)),
    ("u", 1, (0.1, 0.6, 0.3)),
)


@pytest.fixture
def reader(tmp_path) -> ExampleReader:
    """Six plain images with brightness 10, 20, 30 and so on."""
    paths = [tmp_path / f"{number}.png" for number in range(len(ROWS))]
    for number, path in enumerate(paths):
        size, level = (TINY_PX, TINY_PX), 10 * (number + 1)
        Image.new("RGB", size, (level,) * 3).save(path)
    samples = Samples(
        ids=tuple(name for name, _, _ in ROWS),
        labels=np.array([label for _, label, _ in ROWS], np.int32),
        paths=tuple(map(str, paths)),
        offsets=np.zeros(len(ROWS), np.int64),
        lengths=np.full(len(ROWS), WHOLE_FILE, np.int64),
    )
    chances = np.array([row for _, _, row in ROWS]) + 1e-30
    predicted = Predicted.of_logits(samples, np.log(chances))
    return ExampleReader(predicted, NAMES, image_px=TINY_PX, rendering=PLAIN)


def brightness(uri: str) -> float:
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return float(np.asarray(image).mean())


def test_mistakes_are_in_descending_order_of_confidence(
    reader: ExampleReader,
) -> None:
    """Ties are in the order of ids; each mistake has its own image."""
    found = reader.mistakes()
    assert [
        (m["id"], m["true"], m["predicted"], round(m["confidence"], 6))
        for m in found
    ] == [
        ("r", "b", "a", 0.8),
        ("s", "b", "c", 0.7),
        ("t", "c", "b", 0.7),
        ("q", "a", "c", 0.6),
    ]
    levels = [brightness(m["image"]) for m in found]
    assert levels == pytest.approx([30, 50, 40, 20], abs=2)


def test_a_mistake_is_beside_a_right_example_of_its_class(
    reader: ExampleReader,
) -> None:
    """Class b has two mistakes, and class c no correct prediction."""
    pairs = reader.activations(tiny_classifier(3))
    assert [[item["id"] for item in pair] for pair in pairs] == [
        ["r", "u"],
        ["t"],
        ["q", "p"],
        ["s"],
    ]
    wrong, right = pairs[0]
    assert [name for name, _ in wrong["maps"]] == ["a", "b"]
    assert [name for name, _ in right["maps"]] == ["b"]
    assert (wrong["correct"], right["correct"]) == (False, True)
