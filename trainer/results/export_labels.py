"""labels.txt: the class names of an export, one per line."""

from __future__ import annotations

from collections.abc import Sequence

LABELS = "labels.txt"


def labels_text(class_names: Sequence[str]) -> str:
    r"""Returns one line per class, in the order of the probabilities.

    A backslash becomes `\\`. Characters at which readers end a line become
    `\n`, `\r`, `\x0b`, `\u2028` and so on, as in Python and JSON strings.
    """
    return "".join(f"{_escaped(name)}\n" for name in class_names)


def _escaped(name: str) -> str:
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if char == "\\" or _ends_line(char)
        else char
        for char in name
    )


def _ends_line(char: str) -> bool:
    return len(f"a{char}b".splitlines()) > 1
