"""out_of_fold.csv of one fold: its rows, and damage to them."""

from __future__ import annotations

import csv
import pathlib

import numpy as np
import pytest
import scipy.special

from trainer.data.samples import WHOLE_FILE, Samples
from trainer.errors import TrainerError
from trainer.results.evaluation import Evaluation
from trainer.results.out_of_fold import (
    OUT_OF_FOLD,
    read_out_of_fold,
    write_out_of_fold,
)
from trainer.workdir import Workdir

IDS = ("=sum/1.jpg", "pie/a,b.jpg", "pie/c.jpg")
LOGITS = np.array(
    [[0.0, 1.0, 0.5], [3.0, 1.0, -2.0], [-1e3, 1e3, 0.0]], np.float32
)
LABELS = (1, 0, 2)


@pytest.fixture
def workdir(tmp_path: pathlib.Path) -> Workdir:
    """A workdir with the rows of fold 2."""
    samples = Samples(
        ids=IDS,
        labels=np.array(LABELS, np.int32),
        paths=("",) * 3,
        offsets=np.zeros(3, np.int64),
        lengths=np.full(3, WHOLE_FILE, np.int64),
    )
    evaluation = Evaluation(
        loss=0.0,
        accuracy=2 / 3,
        top5_accuracy=None,
        confusion=np.eye(3, dtype=np.int64),
        class_names=("pie", "+cake", "soup"),
        outputs=LOGITS,
    )
    workdir = Workdir(str(tmp_path))
    write_out_of_fold(workdir, 2, samples, evaluation)
    return workdir


def test_rows_hold_classes_and_exact_probabilities(workdir: Workdir) -> None:
    with open(workdir.file(OUT_OF_FOLD), newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == [
        "id",
        "fold",
        "true",
        "predicted",
        "probability",
        "true_probability",
    ]
    assert [row[:4] for row in rows] == [
        ["'=sum/1.jpg", "2", "'+cake", "'+cake"],
        ["pie/a,b.jpg", "2", "pie", "pie"],
        ["pie/c.jpg", "2", "soup", "'+cake"],
    ]
    expected = scipy.special.softmax(LOGITS.astype(np.float64), axis=1)
    found = np.array([row[4:] for row in rows], np.float32)
    picked = [(expected[i].max(), expected[i, n]) for i, n in enumerate(LABELS)]
    np.testing.assert_array_equal(found, np.array(picked, np.float32))


def test_rows_are_read_back(workdir: Workdir) -> None:
    rows = read_out_of_fold(workdir, 2, IDS)
    assert rows.accuracy == 2 / 3
    text = pathlib.Path(workdir.file(OUT_OF_FOLD)).read_text(encoding="utf-8")
    assert "".join(rows.lines.values()) == text.partition("\n")[2]
    assert list(rows.lines) == ["'=sum/1.jpg", *IDS[1:]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,fold", "id,part", "line 1 is not id,fold,true,"),
        ("pie/c.jpg,2", "pie/c.jpg,1", "line 4 is not of this fold"),
        ("pie/c.jpg,2", "pie/c.jpg", "line 4 is not of this fold"),
        ("pie/c.jpg", "pie/d.jpg", "its samples are not those of the fold"),
        ('"pie/a,b.jpg"', '"pie/a,b.jpg', "end of data"),
    ],
)
def test_damage_is_one_line(
    workdir: Workdir, old: str, new: str, message: str
) -> None:
    path = pathlib.Path(workdir.file(OUT_OF_FOLD))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(TrainerError) as error:
        read_out_of_fold(workdir, 2, IDS)
    assert str(error.value).startswith(f"{path}: cannot be read (")
    assert message in str(error.value)
    assert str(error.value).endswith(
        f"; remove {workdir.path} to run this fold again"
    )


def test_a_missing_file_is_one_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        TrainerError, match=r"No such file.*run this fold again"
    ):
        read_out_of_fold(Workdir(str(tmp_path)), 1, IDS)
