"""The one line of an error."""

import pytest

from trainer.errors import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("class 'борщ': 寿司 — 100 %", "class 'борщ': 寿司 — 100 %"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x1b[2J and \0", r"\x1b[2J and \x00"),
        ("line\u2028separator", r"line\u2028separator"),
        ("no \udcff text", r"no \udcff text"),
        ("", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line
    assert one_line(text).isprintable()
    one_line(text).encode()
