"""Escapes names for each place where they are shown.

The names of classes, files and folders are untrusted. A character of a name may
be markup where it is shown: `$` begins TeX in matplotlib, `<` begins a tag in
HTML, `|` ends a cell in Markdown, `=` begins a formula in a spreadsheet, and an
escape character moves the cursor of a terminal. Code that shows a name calls
the function for its output format, once.
"""

from __future__ import annotations

import contextlib
import html
import re
import warnings
from collections.abc import Iterator

from trainer.errors import one_line, shortened

# Longer names leave no room for the axes.
_PLOT_CHARS = 40
# A spreadsheet runs a cell that begins with one of these, or drops the
# character and runs the rest. The last four are the full-width forms, which an
# input method for Chinese or Japanese types.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# Besides the comma: separators of cells in spreadsheets of other locales.
_QUOTED = re.compile(r'[",;\t\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]')
_MARKUP = re.compile(
    r"[\\`*\[\]<>&$~|]"
    # Within a word an underscore is plain text.
    r"|(?<![^\W_])_|_(?![^\W_])"
)


def for_terminal(text: str) -> str:
    """Returns the text with all invisible characters escaped."""
    return one_line(text)


def for_html(text: str) -> str:
    """Returns the text for HTML and SVG, in an element or an attribute."""
    return html.escape(one_line(text))


def for_markdown(text: str) -> str:
    """Returns the text for a paragraph or a table cell of Markdown.

    Markup characters become numeric entities. GitHub, which renders study.md,
    and TensorBoard, which renders the configuration, treat backslashes
    differently, but entities alike.
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", one_line(text))


def for_plot(text: str) -> str:
    """Returns the text for a label of a chart, at most 40 characters.

    Draw it in a `plot_style` block, which turns TeX off.
    """
    return shortened(one_line(text), _PLOT_CHARS)


@contextlib.contextmanager
def plot_style(**parameters: object) -> Iterator[None]:
    """Returns a context for charts in which names are plain text.

    Hides matplotlib's warnings, such as those of long labels that squeeze the
    axes. `fonts.plot_labels` chooses fonts that have the characters of names.

    Args:
      **parameters: more settings of matplotlib, with two underscores for each
        dot.
    """
    import matplotlib

    settings = {
        "text.parse_math": False,
        # A matplotlibrc file may set both.
        "text.usetex": False,
        "font.family": ["DejaVu Sans"],
        **{name.replace("__", "."): x for name, x in parameters.items()},
    }
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context(settings),  # type: ignore[arg-type]
    ):
        warnings.simplefilter("ignore")
        yield


def for_csv(text: str) -> str:
    """Returns text that no spreadsheet reads as a formula.

    Adds a single quote in front of a text that begins with `=`, `+`, `-`, `@`,
    a tab, a line break or a single quote. Removing one leading quote restores
    any text.
    """
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def path_for_csv(path: str) -> str:
    """Returns a path that no spreadsheet reads as a formula.

    A path that begins like a formula is relative, so it gets `./` in front and
    still names the same file.
    """
    return f"./{path}" if path.startswith(_FORMULA) else path


def csv_line(cells: list[str]) -> str:
    """Returns cells as a line of CSV by RFC 4180, with its line feed.

    A cell is quoted if it contains a quote, a separator or a line break. Some
    versions of Python's `csv.writer` do not quote a bare carriage return, which
    `csv.reader` then rejects.
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(text: str) -> str:
    if not _QUOTED.search(text):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'
