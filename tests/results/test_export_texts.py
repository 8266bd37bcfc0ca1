"""labels.txt and model_card.md."""

from __future__ import annotations

import html

import numpy as np
import pytest

from tests.results.conftest import NAMES
from tests.results.test_format_check import measurement
from trainer.data.rendering import PLAIN
from trainer.model.classifier import Classifier
from trainer.results.export_card import CardFacts, model_card
from trainer.results.export_labels import labels_text
from trainer.results.servable import Served

FACTS = CardFacts(
    title="finetune at step 8 (best)",
    data="food3: 3 classes",
    model="MobileNetV2, 8 px",
    command="python main.py --stage=finetune",
    result={
        "test_accuracy": 0.75,
        "test_accuracy_interval": [0.5, 0.9],
        "test_macro_f1": None,
        "test_examples": 40,
        "final_split": "test",
        "test_per_class_accuracy": {"apple pie": 1.0, "борщ": None},
        "test_per_class_interval": {"apple pie": [0.7, 1.0]},
        "test_per_class_support": {"apple pie": 20},
    },
    licence="Apache-2.0.",
    temperature="Probabilities are not calibrated.",
    versions={"tensorflow": "2.21.0"},
)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param("apple pie", "apple pie", id="plain"),
        pytest.param("寿司", "寿司", id="CJK"),
        pytest.param("two\nlines", r"two\nlines", id="newline"),
        pytest.param("a\r\x0bb", r"a\r\x0bb", id="other line ends"),
        pytest.param("a\u2028b\x85", r"a\u2028b\x85", id="of Unicode"),
        pytest.param(r"C:\new", r"C:\\new", id="backslash"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_class_name_is_one_line(name: str, line: str) -> None:
    text = labels_text(["first", name, "last"])
    assert text == f"first\n{line}\nlast\n"
    assert text.splitlines() == ["first", line, "last"]


def card(classifier: Classifier, facts: CardFacts = FACTS) -> str:
    served = Served(classifier, NAMES, flip=True, rendering=PLAIN)
    return model_card(served, measurement(0.875), facts)


@pytest.mark.parametrize(
    "line",
    [
        "| data | food3: 3 classes |",
        "| checkpoint | finetune at step 8 (best) |",
        "| test-time augmentation | average with the mirror image |",
        "| recipe | python main.py --stage=finetune |",
        "| 0 | apple pie | 1.0000 | [0.700, 1.000] | 20 |",
        r"| 1 | two\nlines | - |  | - |",
        "| 2 | борщ | - |  | - |",
        "Of the original, on 40 images of the test split:",
        "| accuracy | 0.7500 | [0.500, 0.900] |",
        "| macro F1 | - |  |",
        "| tflite int8 | 0.8750 | 0.5000 | 3.0 | 5.2 | tf 1 |",
        "- Probabilities are not calibrated.",
        "Apache-2.0.",
        "| tensorflow | 2.21.0 |",
    ],
)
def test_the_card_says(classifier: Classifier, line: str) -> None:
    assert line in html.unescape(card(classifier)).split("\n")


def test_a_card_of_an_unfinished_run_says_so(classifier: Classifier) -> None:
    text = card(classifier, CardFacts())
    assert "The run has no result of this checkpoint." in text
    assert "| index | class |\n|---|---|\n| 0 | apple pie |" in text
    assert "| data | unknown |" in text


def test_a_card_of_several_labels_names_the_task(
    classifier: Classifier,
) -> None:
    served = Served(
        classifier, NAMES, False, PLAIN, np.full(4, 0.5, np.float32)
    )
    text = model_card(served, None, CardFacts())
    assert "any number of labels per image" in text
    assert "## Formats" not in text
