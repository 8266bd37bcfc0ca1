"""Rows of CSV, TSV and JSON lines, and what is wrong with bad ones."""

from __future__ import annotations

import pathlib
import tracemalloc

import pytest

from trainer.config.table_columns import parse_columns
from trainer.data.samples import BadRow
from trainer.data.table_rows import TableRow, read_rows
from trainer.errors import TrainerError


def read(
    folder: pathlib.Path, name: str, content: bytes, columns: str | None = None
) -> list[str]:
    """Returns each row as `LINE:CELLS`, and each bad row as its message."""
    path = folder / name
    path.write_bytes(content)
    found = []
    for row in read_rows(str(path), parse_columns(columns), dataset=name):
        if isinstance(row, BadRow):
            found.append(str(row))
        else:
            assert isinstance(row, TableRow)
            cells = (row.path, row.label, row.split, row.group, row.weight)
            found.append(f"{row.line}:{'|'.join(cells).rstrip('|')}")
    return found


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param(
            "a.csv",
            b"path,label\na.jpg,cat\nb.jpg,dog\n",
            ["2:a.jpg|cat", "3:b.jpg|dog"],
            id="csv",
        ),
        pytest.param(
            "a.csv",
            b"\xef\xbb\xbfpath,label\r\na.jpg,cat\r\n\r\nb.jpg,dog",
            ["2:a.jpg|cat", "4:b.jpg|dog"],
            id="mark_crlf_blank_line_no_end",
        ),
        pytest.param(
            "a.csv", b"path,label\ra.jpg,cat\r", ["2:a.jpg|cat"], id="cr"
        ),
        pytest.param(
            "a.csv",
            b'label,path\n"a ""big""\ncat","x,1.jpg"\ndog,b.jpg\n',
            ['2:x,1.jpg|a "big"\ncat', "4:b.jpg|dog"],
            id="quoted_commas_quotes_and_line_ends",
        ),
        pytest.param(
            "a.CSV",
            b",path,label,split,group,weight,note\n"
            b"0,a.jpg, cat ,train,anna,0.5,x\n",
            ["2:a.jpg|cat|train|anna|0.5"],
            id="all_columns_and_others",
        ),
        pytest.param(
            "a.tsv", b"path\tlabel\na,b.jpg\tcat\n", ["2:a,b.jpg|cat"], id="tsv"
        ),
        pytest.param(
            "a.jsonl",
            b'\xef\xbb\xbf{"path": "a.jpg", "label": 3}\r\n\n'
            b'{"label": "\\u00e9", "path": "b.jpg", "group": "g", "x": [1]}\n',
            ["1:a.jpg|3", "3:b.jpg|\u00e9||g"],
            id="jsonl",
        ),
    ],
)
def test_rows_have_line_and_cells(
    tmp_path: pathlib.Path, name: str, content: bytes, expected: list[str]
) -> None:
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("path=file,label=species", "2:a.jpg|owl|train"),
        ("path=file, label=species, split=", "2:a.jpg|owl"),
        # `label` is read as the group, so it is not the label as well.
        ("path=file,label=species,group=label", "2:a.jpg|owl|train|7"),
    ],
)
def test_columns_may_have_other_names(
    tmp_path: pathlib.Path, columns: str, expected: str
) -> None:
    content = b"file,species,split,label\na.jpg,owl,train,7\n"
    assert read(tmp_path, "a.csv", content, columns) == [expected]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("a.csv", b"a.jpg", "line 2: 1 cells, but 2 columns"),
        ("a.csv", b"a.jpg,cat,x", "line 2: 3 cells, but 2 columns"),
        ("a.csv", b" ,cat", "line 2: no 'path'"),
        ("a.csv", b"a.jpg,", "line 2: no 'label'"),
        ("a.csv", b'"a"x,cat', "line 2: quoted wrongly ("),
        ("a.csv", b"a.jpg,caf\xe9", "line 2: 'label' is not UTF-8; save"),
        ("a.csv", b"a\0.jpg,cat", "line 2: 'path' has a NUL"),
        ("a.jsonl", b'{"path": "a.jpg"}', "line 2: no 'label'"),
        ("a.jsonl", b'{"path": "a.jpg"', "line 2: no JSON ("),
        ("a.jsonl", b"[1]", "line 2: no JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 2: no JSON ("),
        (
            "a.jsonl",
            b'{"path": ["a.jpg"], "label": 1}',
            "line 2: 'path' is neither a text nor a number",
        ),
        (
            "a.jsonl",
            b'{"path": "\\ud800", "label": 1}',
            "line 2: 'path' is not UTF-8",
        ),
    ],
    ids=[
        *("few_cells", "many_cells", "no_path", "no_label", "quotes"),
        *("latin_1", "nul", "no_key", "no_json", "no_object", "deep", "list"),
        "surrogate",
    ],
)
def test_a_bad_row_is_named_and_the_next_is_read(
    tmp_path: pathlib.Path, name: str, row: bytes, expected: str
) -> None:
    before, after = b"path,label\n", b"\nb.jpg,dog\n"
    if name == "a.jsonl":
        before, after = b"\n", b'\n{"path": "b.jpg", "label": "dog"}\n'
    bad, good = read(tmp_path, name, before + row + after)
    assert bad.startswith(expected)
    assert good == "3:b.jpg|dog"


@pytest.mark.parametrize(
    ("name", "content", "columns", "words"),
    [
        ("a.csv", b"", None, "is empty; give a table with a header"),
        (
            "a.csv",
            b"file,class\na.jpg,cat\n",
            None,
            "no column 'path' and no column 'label' among 'file', 'class'; the"
            " first line must name the columns; other names are given as"
            " --columns=path=NAME,label=NAME",
        ),
        (
            "a.csv",
            b"path;label\na.jpg;cat\n",
            None,
            "its cells are separated by semicolons, not by commas; save it"
            " with commas",
        ),
        (
            "a.tsv",
            b"path,label\na.jpg,cat\n",
            None,
            "its cells are separated by commas, not by tabs; save it with tabs",
        ),
        ("a.csv", b"path,label,path\n", None, "two columns 'path'; rename"),
        (
            "a.csv",
            b"path,label\n",
            "split=fold",
            "no column 'fold', which --columns names, among 'path', 'label'",
        ),
        (
            "a.csv",
            "path,label\n".encode("utf-16"),
            None,
            "is UTF-16; save it as UTF-8",
        ),
        (
            "a.csv",
            b'path,label\na.jpg,"cat\nb.jpg,dog\n',
            None,
            "line 2: a quoted cell does not end",
        ),
        (
            "a.csv",
            b'path,label\na.jpg,"' + b"cat\n" * 40_000,
            None,
            "line 2: a quoted cell does not end",
        ),
        (
            "a.jsonl",
            b"\n" + b" " * (1 << 21),
            None,
            "line 2 is longer than 1048576 characters",
        ),
    ],
    ids=[
        *("empty", "names", "semicolons", "commas", "twice", "lacking"),
        *("utf16", "open_quote", "long_quote", "long_line"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: pathlib.Path,
    name: str,
    content: bytes,
    columns: str | None,
    words: str,
) -> None:
    with pytest.raises(TrainerError) as error:
        read(tmp_path, name, content, columns)
    assert str(error.value).startswith(f"--dataset={name!r}: ")
    assert words in str(error.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "none.csv")
    with pytest.raises(TrainerError, match=r"cannot be read \(No such file"):
        list(read_rows(path, parse_columns(None), dataset="none.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_many_rows_need_no_memory(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / name
    row = "{n}.jpg,cat\n"
    with path.open("w") as file:
        if name == "a.jsonl":
            row = '{{"path": "{n}.jpg", "label": "cat"}}\n'
        else:
            file.write("path,label\n")
        file.writelines(row.format(n=n) for n in range(200_000))
    tracemalloc.start()
    try:
        rows = read_rows(str(path), parse_columns(None), dataset=name)
        assert sum(isinstance(row, TableRow) for row in rows) == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20
