"""Tables as data sets: splits, ids, paths, groups, and what is refused."""

from __future__ import annotations

import pathlib
import tracemalloc
from typing import Any

import pytest

from trainer.config.grouping import parse_group_by
from trainer.config.table_columns import parse_columns
from trainer.data.folder import open_folder
from trainer.data.samples import Source
from trainer.data.table import BadRowsError, open_table
from trainer.errors import TrainerError, UsageError

HEAD = "path,label\n"


def open_it(path: pathlib.Path, **changes: Any) -> Source:
    columns = parse_columns(changes.pop("columns", None))
    group_by = parse_group_by(changes.pop("group_by", None))
    options = {"test_fraction": 0.2, "on_bad_row": "fail", **changes}
    return open_table(
        str(path),
        dataset=path.name,
        columns=columns,
        group_by=group_by,
        **options,
    )


def table(folder: pathlib.Path, text: str, name: str = "d.csv") -> pathlib.Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(text: str, *numbers: int) -> str:
    """Returns one row per number; `{}` in the text is the number."""
    return "".join(text.replace("{}", str(n)) + "\n" for n in numbers)


def content(source: Source) -> dict[str, list[tuple[str, str, str]]]:
    """Returns id, class and group of each sample, by split."""
    return {
        split: [
            (sample_id, source.class_names[label], group)
            for sample_id, label, group in zip(
                part.ids,
                part.labels.tolist(),
                part.groups or ("",) * len(part),
                strict=True,
            )
        ]
        for split, part in source.splits().items()
    }


def test_splits_ids_paths_and_classes(tmp_path: pathlib.Path) -> None:
    path = table(
        tmp_path,
        "path,label,split\n"
        "./b.jpg,dog,TRAIN\n"
        "x/../a.jpg,cat,training\n"
        f"{tmp_path}/far/c.jpg,dog,dev\n"
        "e\u0301.jpg,cat,validation\n"
        "gs://bucket/d.jpg,dog,test\n"
        "f.jpg,cat,Test\n",
    )
    source = open_it(path)
    assert source.name == "d"
    assert source.location == str(path)
    assert source.class_names == ("cat", "dog")
    assert content(source) == {
        "train": [("a.jpg", "cat", ""), ("b.jpg", "dog", "")],
        "validation": [
            (f"{tmp_path}/far/c.jpg", "dog", ""),
            ("\u00e9.jpg", "cat", ""),
        ],
        "test": [("f.jpg", "cat", ""), ("gs://bucket/d.jpg", "dog", "")],
    }
    assert source.validation is not None
    assert source.test is not None
    paths = source.train.paths + source.validation.paths + source.test.paths
    assert paths == (
        f"{tmp_path}/x/../a.jpg",
        f"{tmp_path}/./b.jpg",
        f"{tmp_path}/far/c.jpg",
        f"{tmp_path}/e\u0301.jpg",
        f"{tmp_path}/f.jpg",
        "gs://bucket/d.jpg",
    )
    assert source.train.groups == ()


def test_a_table_of_a_folder_is_the_same_data(tmp_path: pathlib.Path) -> None:
    names = [f"{label}/{n}.jpg" for label in ("a", "b") for n in range(20)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = open_folder(str(tmp_path), dataset="d", test_fraction=0.3)
    text = HEAD + "".join(f"{name},{name[0]}\n" for name in reversed(names))
    source = open_it(table(tmp_path, text), test_fraction=0.3)
    assert content(source) == content(folder)
    assert source.train.paths == folder.train.paths
    assert source.train.labels.dtype == folder.train.labels.dtype


GROUPED = "path,label,group\n" + "".join(
    f"{label}{n}.jpg,{label},person {n // 2}\n"
    for label in ("a", "b")
    for n in range(20)
)


@pytest.mark.parametrize(
    ("flag", "grouped"),
    [(None, True), ("column", True), ("none", False)],
)
def test_the_column_of_groups_is_read(
    tmp_path: pathlib.Path, flag: str | None, grouped: bool
) -> None:
    source = open_it(table(tmp_path, GROUPED), group_by=flag)
    assert source.test is not None
    names = [
        {f"person {int(i[1:-4]) // 2}" for i in part.ids}
        for part in (source.train, source.test)
    ]
    assert bool(names[0] & names[1]) != grouped
    assert bool(source.train.groups) == grouped
    assert len(source.test) == 8


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("parent", ["anna", "bob", "anna", "bob"]),
        ("regex:^(.*)/", ["cat/anna", "cat/bob", "dog/anna", "dog/bob"]),
        ("regex:([a-z])/(?:(x)|[0-9])", ["a/", "b/x", "a/", "b/x"]),
        ("regex:[0-9]", ["1", "2", "1", "3"]),
    ],
)
def test_paths_name_the_groups(
    tmp_path: pathlib.Path, rule: str, expected: list[str]
) -> None:
    names = ("cat/anna/1.jpg", "cat/bob/x2.jpg", "dog/anna/1.jpg")
    names = (*names, "dog/bob/x3.jpg")
    text = "path,label,split,group\n" + "".join(
        f"{name},{name[:3]},train,z\n" for name in names
    )
    text += "q/r/9.jpg,cat,test,y\nq/s/8.jpg,dog,test,y\n"
    source = open_it(table(tmp_path, text), group_by=rule)
    assert list(source.train.groups) == expected


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("parent", "'a0.jpg' and 39 more has no folder; give regex:PATTERN"),
        ("regex:c(.)", "matches no part of 'a0.jpg' and 39 more, or an empty"),
        (
            "regex:(c?)(d?)",
            "matches no part of 'a0.jpg' and 39 more, or an empty",
        ),
        (
            "regex:[ab]",
            "class 'a' has one group, 'a'; without a test split each class"
            " needs two",
        ),
    ],
)
def test_groupings_that_do_not_fit_are_refused(
    tmp_path: pathlib.Path, rule: str, words: str
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it(table(tmp_path, GROUPED), group_by=rule)
    assert words in str(error.value)


def test_a_group_in_two_splits_is_refused(tmp_path: pathlib.Path) -> None:
    text = (
        "path,label,split,group\n1,a,train,x\n2,b,train,y\n3,a,test,y\n"
        "4,b,test,\n5,a,train,\n"
    )
    with pytest.raises(TrainerError) as error:
        open_it(table(tmp_path, text))
    assert str(error.value) == (
        "--dataset='d.csv': group 'y' has images in train and in test; move"
        " each group to one split, or give --group_by=none"
    )
    assert open_it(table(tmp_path, text), group_by="none").train.groups == ()


BAD = (
    "path,label,split,group,weight\n"
    "1,a,train,,\n"
    "./1,a,train,,\n"
    "2,b,train,,1.0\n"
    "2,a,test,,\n"
    "3,a,eval,,\n"
    "4,b,test,,-1\n"
    "5,b,test,,heavy\n"
    "6,a,,,\n"
    "7,a,test,\n"
    "8,a,test,,\n"
    "9,b,test,,1\n"
)
REASONS = [
    "line 3: '1' is in line 2 too",
    "line 5: '2' is in line 4 too, with the label 'b'",
    "line 6: no split 'eval'; legal are train, validation and test",
    "line 7: no weight '-1'; legal are 0 and numbers from 1e-06 to 1e+06",
    "line 8: no weight 'heavy'; legal are 0 and numbers from 1e-06 to 1e+06",
    "line 9: no split, but other rows have one",
    "line 10: 4 cells, but 5 columns",
]


def test_bad_rows_are_named_and_counted(tmp_path: pathlib.Path) -> None:
    path = table(tmp_path, BAD)
    with pytest.raises(BadRowsError) as error:
        open_it(path)
    assert str(error.value) == (
        "--dataset='d.csv': line 3: '1' is in line 2 too (and 6 more rows);"
        " fix or remove it, or --on_bad_image=skip trains on the rest"
    )
    assert list(map(str, error.value.bad)) == REASONS
    source = open_it(path, on_bad_row="skip")
    assert list(map(str, source.bad_rows)) == REASONS
    assert content(source) == {
        "train": [("1", "a", ""), ("2", "b", "")],
        "test": [("8", "a", ""), ("9", "b", "")],
    }


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (HEAD, {}, "has no usable row; give a table with one row per image"),
        (
            HEAD + "a,\n",
            {"on_bad_row": "skip"},
            "has no usable row (1 left out)",
        ),
        (HEAD + rows("{},a", 1, 2), {}, "one class only, 'a'"),
        (
            "path,label,split\n" + rows("{},a,test", 1) + rows("{},b,test", 2),
            {},
            "no row of split 'train'; the column 'split' must have",
        ),
        (
            "path,label,split\n1,a,train\n2,b,train\n3,b,val\n",
            {},
            "no validation row of class 'a'; each split needs every class",
        ),
        (
            HEAD + rows("{},a", 1, 2) + "3,b\n",
            {},
            "class 'b' has 1 image; without a test split each class needs two",
        ),
    ],
    ids=["empty", "bad", "one_class", "no_train", "missing", "small"],
)
def test_tables_that_cannot_be_used(
    tmp_path: pathlib.Path, text: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it(table(tmp_path, text), **options)
    assert str(error.value).startswith("--dataset='d.csv': ")
    assert words in str(error.value)


def test_asked_for_groups_must_exist(tmp_path: pathlib.Path) -> None:
    text = "path,label\n" + rows("a{},a", 1, 2) + rows("b{},b", 1, 2)
    with pytest.raises(UsageError) as error:
        open_it(table(tmp_path, text), group_by="column")
    assert str(error.value) == (
        "--group_by=column: the table has no groups in a column 'group'; name"
        " the column with --columns=group=NAME"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_many_rows_need_few_bytes_each(
    tmp_path: pathlib.Path, name: str
) -> None:
    path = tmp_path / name
    with path.open("w") as file:
        if name == "d.csv":
            file.write("path,label,group\n")
        for n in range(100_000):
            image, label, group = f"f/{n:07}.jpg", n % 1000, n // 10
            if name == "d.csv":
                file.write(f"{image},class {label},g{group}\n")
            else:
                file.write(
                    f'{{"path": "{image}", "label": "class {label}",'
                    f' "group": "g{group}"}}\n'
                )
    tracemalloc.start()
    try:
        source = open_it(path, group_by="none")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.test is not None
    assert len(source.train) + len(source.test) == 100_000
    # About 500 bytes a row were measured.
    assert peak < 700 * 100_000
