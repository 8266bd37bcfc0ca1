"""Tests that files and functions are short."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
# The table of flags is kept in one file.
LONG_FILES = {"trainer/config/fields.py"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.py", "trainer", "tests", "benchmarks", "tools")
    for path in (
        ROOT.glob(pattern)
        if pattern == "*.py"
        else (ROOT / pattern).rglob("*.py")
    )
)


@pytest.mark.parametrize("name", FILES)
def test_no_file_and_no_function_is_too_long(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE_LINES or name in LONG_FILES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert not long
