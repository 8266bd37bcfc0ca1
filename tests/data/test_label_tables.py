"""Tables of images with several labels: cells, classes, errors."""

from __future__ import annotations

import pathlib

import pytest

from trainer.config.table_columns import parse_columns
from trainer.data.label_cells import label_set
from trainer.data.samples import Source
from trainer.data.table import BadRowsError, open_table
from trainer.errors import TrainerError


def opened(
    folder: pathlib.Path,
    text: str,
    *,
    name: str = "d.csv",
    on_bad_row: str = "fail",
) -> Source:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return open_table(
        str(path),
        dataset=name,
        columns=parse_columns(None),
        test_fraction=0.2,
        on_bad_row=on_bad_row,
        several=True,
    )


CELLS = {
    "one": ("cat", ("cat", "")),
    "sorted": ("night|cat", ("cat|night", "")),
    "spaces around": (" cat | living room ", ("cat|living room", "")),
    "none": ("", ("", "")),
    "empty label": ("cat||dog", ("", "an empty label in 'cat||dog'")),
    "bar at the end": ("cat|", ("", "an empty label in 'cat|'")),
    "twice": ("cat|dog| cat", ("", "label 'cat' twice")),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_a_set_of_labels(name: str) -> None:
    cell, expected = CELLS[name]
    assert label_set(cell) == expected


SPLITS = """path,label,split
1.jpg,cat|living room,train
2.jpg,,train
3.jpg,night|cat,train
4.jpg,living room,test
5.jpg,,test
"""


def test_labels_become_rows_of_zeros_and_ones(tmp_path: pathlib.Path) -> None:
    source = opened(tmp_path, SPLITS)
    assert source.class_names == ("cat", "living room", "night")
    assert source.train.labels.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert source.test is not None
    # A split may lack a class, unless it is that of training.
    assert source.test.labels.tolist() == [[0, 1, 0], [0, 0, 0]]
    names = source.train.label_names(source.class_names)
    assert names == ["cat|living room", "", "cat|night"]
    assert source.train.label_values() == [[0, 1], [], [0, 2]]
    assert source.train.counts(3).tolist() == [2, 1, 1]


def test_json_labels_may_be_a_list(tmp_path: pathlib.Path) -> None:
    text = """
{"path": "1.jpg", "label": ["cat", "dog"], "split": "train"}
{"path": "2.jpg", "label": [], "split": "train"}
{"path": "3.jpg", "label": "dog|1", "split": "train"}
{"path": "4.jpg", "label": [1], "split": "test"}
{"path": "5.jpg", "label": null, "split": "test"}
"""
    source = opened(tmp_path, text, name="d.jsonl")
    assert source.class_names == ("1", "cat", "dog")
    assert source.train.label_values() == [[1, 2], [], [0, 2]]
    assert source.test is not None
    assert source.test.label_values() == [[0], []]


BAD_LISTS = {
    "bar": ('["a|b"]', "a label 'a|b'"),
    "empty": ('["a", " "]', "a label ' '"),
    "nested": ('[["a"]]', "a label is neither a text nor a number"),
    "twice": ('["a", "a"]', "label 'a' twice"),
    "object": ('{"a": 1}', "'label' is neither a text nor a number"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_bad_lists_are_bad_rows(tmp_path: pathlib.Path, name: str) -> None:
    value, reason = BAD_LISTS[name]
    line = f'{{"path": "1.jpg", "label": {value}}}'
    with pytest.raises(BadRowsError) as error:
        opened(tmp_path, line, name="d.jsonl")
    assert f"line 1: {reason}" in str(error.value)


def table(*labels: str, split: str = "") -> str:
    rows = [f"{n}.jpg,{x}" for n, x in enumerate(labels)]
    return "\n".join([f"path,label{split}", *rows])


BAD_TABLES = {
    "semicolons": (
        table("cat;dog", "cat", "dog"),
        "no image has two labels, but the label 'cat;dog' has a ';'; write |",
    ),
    "commas": (
        table('"cat, dog"', "cat", "dog"),
        "the label 'cat, dog' has a ','; write |",
    ),
    "twice": (table("cat|cat", "dog"), "line 2: label 'cat' twice"),
    "empty label": (table("cat|", "dog"), "line 2: an empty label in 'cat|'"),
    "no label": (table("", "", ""), "no image has a label; fill the column"),
    "one class": (
        table("cat", "", "cat", ""),
        "one class only, 'cat'; classifying needs two or more; to find images",
    ),
    "class of the test only": (
        table("cat,train", "dog,train", "cat|owl,test", split=",split"),
        "no train row of class 'owl'; training needs every class",
    ),
    "no label in the test": (
        table("cat,train", "dog,train", ",test", split=",split"),
        "no test row has a label, so there is nothing to measure",
    ),
    "path twice": (
        "path,label\n1.jpg,b|a\n1.jpg,a|b\n2.jpg,a",
        "line 3: '1.jpg' is in line 2 too; fix",
    ),
    "path twice, other labels": (
        "path,label\n1.jpg,b|a\n1.jpg,a\n2.jpg,a",
        "'1.jpg' is in line 2 too, with the label 'a|b'",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line(
    tmp_path: pathlib.Path, name: str
) -> None:
    text, expected = BAD_TABLES[name]
    with pytest.raises(TrainerError) as error:
        opened(tmp_path, text)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_cells_can_be_left_out(tmp_path: pathlib.Path) -> None:
    text = table("cat|dog", "cat|cat", "dog|", "dog", "cat", "cat|dog")
    source = opened(tmp_path, text, on_bad_row="skip")
    assert [row.line for row in source.bad_rows] == [3, 4]
    assert source.test is not None
    assert len(source.train) + len(source.test) == 4
    assert source.class_names == ("cat", "dog")


def test_a_comma_is_part_of_a_label_if_bars_separate(
    tmp_path: pathlib.Path,
) -> None:
    source = opened(tmp_path, table('"bird, small|night"', "night", "x", "x"))
    assert source.class_names == ("bird, small", "night", "x")
