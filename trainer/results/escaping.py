"""Escapes names for each place where they are shown.

The names of classes, files and folders come from other people. What is plain
text in a folder's name is markup elsewhere: `$` begins TeX in matplotlib, `<`
begins a tag in HTML, `|` ends a cell in Markdown, `=` begins a formula in a
spreadsheet, and an escape character moves the cursor of a terminal. Each
place that shows a name calls the function for that place, once.
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
# character and runs the rest. The last four are what an input method for
# Chinese or Japanese types in their place.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# Besides the comma: a spreadsheet of another country separates cells by these.
_QUOTED = re.compile(r'[",;\t\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]')
_MARKUP = re.compile(
    r"[\\`*\[\]<>&$~|]"
    # Within a word an underscore is plain text.
    r"|(?<![^\W_])_|_(?![^\W_])"
)


def for_terminal(text: str) -> str:
    """Returns the text with every character that is not visible escaped."""
    return one_line(text)


def for_html(text: str) -> str:
    """Returns the text for HTML and SVG, in an element or an attribute."""
    return html.escape(one_line(text))


def for_markdown(text: str) -> str:
    """Returns the text for a paragraph or a table cell of Markdown.

    Characters with a meaning become numeric entities. GitHub, which reads
    study.md, and TensorBoard, which reads the configuration, differ in what a
    backslash escapes; entities are text in both.
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", one_line(text))


def for_plot(text: str) -> str:
    """Returns the text for a label of a chart, in at most 40 characters.

    Draw it in a `plot_style` block, which turns TeX off.
    """
    return shortened(one_line(text), _PLOT_CHARS)


@contextlib.contextmanager
def plot_style(**parameters: object) -> Iterator[None]:
    """Returns a context for charts in which names are plain text.

    Matplotlib's warnings stay inside: a script that its font lacks, Chinese
    for one, is drawn as boxes, and very long labels squeeze the axes.

    Args:
      **parameters: further settings of matplotlib, dots as two underscores.
    """
    import matplotlib

    settings = {
        "text.parse_math": False,
        # A matplotlibrc may set both.
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
    """Returns a text cell that no spreadsheet takes for a formula.

    A text that begins with `=`, `+`, `-`, `@`, a tab or a line break gets a
    single quote in front; so does one that begins with a single quote, and
    dropping one leading quote gives every text back.
    """
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def path_for_csv(path: str) -> str:
    """Returns a path that no spreadsheet takes for a formula.

    A path that begins like a formula is relative; `./` in front leaves it the
    path of the same file.
    """
    return f"./{path}" if path.startswith(_FORMULA) else path


def csv_line(cells: list[str]) -> str:
    """Returns cells as a line of CSV by RFC 4180, with its line feed.

    A cell is quoted if it holds a quote, a separator or a line break; Python's
    writer leaves a bare carriage return unquoted in some versions, which its
    reader then refuses.
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(text: str) -> str:
    if not _QUOTED.search(text):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'
