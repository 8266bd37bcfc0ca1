"""predictions.csv: exact text, hostile names, and damaged files."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from scipy.special import softmax

from trainer.errors import TrainerError
from trainer.results.predictions_file import parse_predictions, predictions_text

NAMES = ("pie", "sushi")
HEADER = "id,true,predicted,probability,true_probability\n"
LN3 = np.log(np.float32(3))


def parse(text: str | bytes, names=NAMES):
    data = text if isinstance(text, bytes) else text.encode()
    return parse_predictions("w/p.csv", data, names, remedy="do this")


def text_of(logits, *, names=NAMES, ids=None, labels=None) -> str:
    logits = np.array(logits, np.float32)
    n = len(logits)
    return predictions_text(
        ids or [f"{i}.jpg" for i in range(n)],
        np.zeros(n, np.int32) if labels is None else np.array(labels),
        logits,
        names,
    )


def test_a_row_by_hand():
    """The softmax of (0, ln 3) is (1/4, 3/4)."""
    text = text_of([[0, LN3], [0, LN3], [5, 5]], labels=[0, 1, 1])
    assert text == (
        f"{HEADER}0.jpg,pie,sushi,0.75,0.25\n"
        "1.jpg,sushi,sushi,0.75,0.75\n"
        # The first of two equal classes, as in the confusion matrix.
        "2.jpg,sushi,pie,0.5,0.5\n"
    )
    found = parse(text)
    assert found.ids == ("0.jpg", "1.jpg", "2.jpg")
    assert found.labels.tolist() == [0, 1, 1]
    assert found.predicted.tolist() == [1, 1, 0]
    assert found.correct.tolist() == [False, True, False]


def test_numpy_reads_the_same_float32():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 12, (500, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 500)
    text = text_of(logits, names=("a", "b", "c", "d"), labels=labels)
    expected = softmax(logits.astype(np.float64), axis=1).astype(np.float32)
    rows = list(csv.DictReader(io.StringIO(text)))
    own = np.array([row["true_probability"] for row in rows], np.float32)
    top = np.array([row["probability"] for row in rows], np.float32)
    np.testing.assert_array_equal(own, expected[np.arange(500), labels])
    np.testing.assert_array_equal(top, expected.max(axis=1))
    assert own.min() < 1e-12


def test_a_model_that_diverged_has_no_probabilities():
    text = text_of([[np.nan, np.nan], [np.inf, 0]])
    assert text.splitlines()[1:] == [
        "0.jpg,pie,pie,nan,nan",
        "1.jpg,pie,pie,nan,nan",
    ]
    assert parse(text).predicted.tolist() == [0, 0]


HOSTILE = (
    "=cmd()",
    "'=cmd()",
    "''",
    "+1",
    "@x",
    "-2",
    "\ttab",
    "\rreturn",
    "\nfeed",
    'a"b',
    "c,d;e",
    "x\r\ny",
    "\u2028",
    "日本語",
    " ",
    "＝1",  # noqa: RUF001
)


def test_hostile_ids_and_classes_come_back():
    n = len(HOSTILE)
    text = text_of(
        np.roll(np.eye(n), 1, axis=1),
        names=HOSTILE,
        ids=HOSTILE,
        labels=np.arange(n),
    )
    found = parse(text, HOSTILE)
    assert found.ids == HOSTILE
    assert found.labels.tolist() == list(range(n))
    assert found.predicted.tolist() == np.roll(np.arange(n), -1).tolist()
    for cells in csv.reader(io.StringIO(text, newline="")):
        assert not cells[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert not cells[1].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


ROW = "a.jpg,pie,sushi,0.75,0.25\n"


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("", 1, "is not id,true,predicted,probability,true_probability"),
        (ROW, 1, "is not id,true,"),
        (HEADER, 1, "no sample after it"),
        (HEADER + ROW + "b.jpg,pie,sus", 3, "3 cells, not 5"),
        (HEADER + ROW + "\n", 3, "0 cells, not 5"),
        (HEADER + ROW + ROW, 3, "'a.jpg' a second time"),
        (HEADER + ROW.replace("sushi", "tart"), 2, "'tart' is not a class"),
        (HEADER + ROW.replace("pie", "tart"), 2, "'tart' is not a class"),
        (HEADER + ROW.replace("0.75", "1.5"), 2, "'1.5' is not a probability"),
        (HEADER + ROW.replace("0.75", "-0.1"), 2, "'-0.1' is not a"),
        (HEADER + ROW.replace("0.75", "inf"), 2, "'inf' is not a"),
        (HEADER + ROW.replace("0.25", "much"), 2, "could not convert"),
        (HEADER + ROW + '"b.jpg', 3, "unexpected end of data"),
        (HEADER + '"x\ny",pie,pie,1,1\n' + "b", 4, "1 cells, not 5"),
        (HEADER + f"{'x' * 200_000},pie,pie,1,1\n", 2, "field larger than"),
        (HEADER.encode() + b"\xff.jpg,pie,pie,1,1\n", 2, "not UTF-8"),
        (b"\x00\xff\xfe", 1, "not UTF-8"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(content, line, what):
    with pytest.raises(TrainerError) as error:
        parse(content)
    text = str(error.value)
    assert text.startswith(f"w/p.csv: line {line}: ")
    assert what in text
    assert text.endswith("; do this")
    assert "\n" not in text
